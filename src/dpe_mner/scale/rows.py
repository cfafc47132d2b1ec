"""Rows of a source, cut into parts: the same rows in the same part whenever it is done, so that a part can be redone.

Rows travel raw, as a line or a record, and become posts where the model is: reading ahead costs little.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_mner.data.files import READ_ERRORS, open_bytes
from dpe_mner.data.json_values import parse_json, reason_of
from dpe_mner.data.jsonl import post_from_object
from dpe_mner.data.table import post_of_row
from dpe_mner.errors import InputError
from dpe_mner.scale.sources import TEXTS, Source, csv_reader, open_parquet, pictures_of
from dpe_mner.types import Post

MOST_BYTES = 32 << 20  # of a part's rows; those with pictures in them are many
_READ_AT_ONCE = 256  # rows of Parquet
_KEYS = (*TEXTS, "id", "image", "caption", "tags", "convention")
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Broken:
    """A row that could not be read, and why."""

    reason: str


Row = tuple[int, bytes | dict[str, Any] | Broken]
"""Its number in the source from 1 (a line's, of JSONL), and what is there."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that are answered together and written as one file.

    Attributes:
        source: Number of the source.
        number: Its place in the source.
        last: Whether the source ends with it.
        rows: None where the part is done already.
    """

    source: int
    number: int
    last: bool
    rows: list[Row] | None

    @property
    def name(self) -> str:
        """``000002-000017``: what it holds, and nothing of when or where it was done."""
        return part_name(self.source, self.number)


def part_name(source: int, number: int) -> str:
    """Name of a part, without its ending."""
    return f"{source:06d}-{number:06d}"


def parts_of(source: Source, columns: Mapping[str, str], *, rows: int, done: Set[str] = frozenset()) -> Iterator[Part]:
    """A source cut into parts; a source without rows is one part without any.

    Args:
        source: Read as a stream.
        columns: A post's key to the column that holds it.
        rows: Of a part at most; rows of many bytes make it shorter.
        done: Names of parts that need not be done again; they come without their rows.
    """

    def part(number: int, found: list[Row], last: bool) -> Part:
        kept = None if part_name(source.number, number) in done else found
        return Part(source=source.number, number=number, last=last, rows=kept)

    number, waiting = 0, None
    for found in cut(rows_of(source, columns), rows):
        if waiting is not None:
            yield part(number, waiting, last=False)
            number += 1
        waiting = found
    yield part(number, waiting or [], last=True)


def cut(rows: Iterable[Row], most: int, most_bytes: int = MOST_BYTES) -> Iterator[list[Row]]:
    """Rows in order, so many at a time, or as many as fit the bytes."""
    found: list[Row] = []
    size = 0
    for row in rows:
        weight = _weight(row[1])
        if found and (len(found) >= most or size + weight > most_bytes):
            yield found
            found, size = [], 0
        found.append(row)
        size += weight
    if found:
        yield found


def _weight(value: Any) -> int:
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_weight, value.values()))
    return sum(map(_weight, value)) if isinstance(value, list | tuple) else 8


def rows_of(source: Source, columns: Mapping[str, str]) -> Iterator[Row]:
    """Every row of a source, in order. Where reading fails, the last row says so."""
    if source.kind == "jsonl":
        return _lines(source.path)
    if source.kind == "csv":
        return _records(source.path)
    if source.kind == "parquet":
        return _table_rows(source.path, {*_KEYS, *columns.values()})
    return _pictures(Path(source.path))


def _lines(path: str) -> Iterator[Row]:
    number = 0
    with open_bytes(path) as stream:
        while True:
            try:
                line = stream.readline()
            except READ_ERRORS as error:
                yield number + 1, _cut_short(error)
                return
            if not line:
                return
            number += 1
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield number, line


def _records(path: str) -> Iterator[Row]:
    number = 0
    with csv_reader(path) as reader:
        while True:
            number += 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, Broken(f"not a row of CSV ({error})")
            except READ_ERRORS as error:
                yield number, _cut_short(error)
                return
            else:
                yield number, _record(record)


def _record(record: dict[Any, Any]) -> dict[str, Any] | Broken:
    if None in record:
        return Broken("has more cells than the heading")
    if any(_ESCAPED_BYTES.search(cell) for cell in record.values() if cell):
        return Broken("not valid UTF-8")
    return {key: cell for key, cell in record.items() if cell or key in TEXTS}  # an empty cell says nothing


def _table_rows(path: str, wanted: Set[str]) -> Iterator[Row]:
    number = 0
    with open_parquet(path) as file:
        names = [name for name in file.schema_arrow.names if name in wanted]
        try:
            for batch in file.iter_batches(batch_size=_READ_AT_ONCE, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (OSError, ValueError) as error:
            yield number + 1, _cut_short(error)


def _pictures(folder: Path) -> Iterator[Row]:
    for number, path in enumerate(pictures_of(folder), 1):
        beside = path.with_suffix(".txt")
        try:
            text = beside.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not valid UTF-8"
            yield number, Broken(f"{path.name}: its text cannot be read from {beside.name} beside it ({reason})")
            continue
        yield number, {"id": path.relative_to(folder).as_posix(), "text": text, "image": str(path)}


def _cut_short(error: Exception) -> Broken:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or "damaged"
    return Broken(f"cannot be read further ({reason}); everything from here on is missing")


def post_of(row: Row, columns: Mapping[str, str]) -> Post:
    """A row as a post.

    Args:
        row: Of any source.
        columns: A post's key to the column that holds it.

    Raises:
        ValueError: If it is none, saying why.
    """
    number, value = row
    if isinstance(value, Broken):
        raise ValueError(value.reason)
    if isinstance(value, bytes):
        return post_from_object(_renamed(_object(value), columns), default_id=str(number))
    value = _renamed(value, columns)
    if isinstance(value.get("tags"), str):
        value["tags"] = [tag.strip() for tag in value["tags"].split(",") if tag.strip()]
    post = post_of_row(value, number)
    if post.image is not None and not isinstance(post.image, str | bytes | os.PathLike):
        raise ValueError(f"'image' must be a path or bytes, not {type(post.image).__name__}")
    return post


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {error.start + 1})") from None
    except (InputError, ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({reason_of(error)})") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _renamed(value: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    if "text" in columns or "words" in columns:  # what was named is meant, whatever else is there
        value = {key: entry for key, entry in value.items() if key not in TEXTS or key in columns.values()}
    given = {key: value.get(column) for key, column in columns.items()}
    taken = {*columns.values()} - {*columns}
    return {**{key: entry for key, entry in value.items() if key not in taken}, **given}
