"""What a bulk input holds: files of rows, or pictures; known by their endings, in an order that never changes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dpe_mner.data.files import bare_ending, expand, open_bytes
from dpe_mner.data.joining import PICTURE_ENDINGS
from dpe_mner.data.json_values import parse_json
from dpe_mner.errors import InputError, nearest

_KINDS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
}  # fmt: skip
_WANTED = "give JSONL, CSV, Parquet, or a folder of those or of pictures"
_LOOKED_AT = 100  # lines of JSONL looked at for a column
_MOST_CELL = 1 << 27  # characters of a cell of CSV
TEXTS = ("text", "words", "tokens")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of rows, or all pictures of a folder.

    Attributes:
        number: Its place among the sources; parts are named by it.
        path: Absolute.
        name: What answers call it: relative to the input.
        kind: ``jsonl``, ``csv``, ``parquet`` or ``pictures``.
    """

    number: int
    path: str
    name: str
    kind: str


def sources_of(name: str) -> list[Source]:
    """The sources in a file or folder, sorted by name.

    Args:
        name: The input.

    Raises:
        InputError: If there is none.
    """
    place = Path(os.path.abspath(expand(name)))
    if not place.exists():
        raise InputError(f"{name}: no such file or folder; {_WANTED}")
    if not place.is_dir():
        kind = _KINDS.get(bare_ending(place))
        if kind is None:
            raise InputError(f"{name}: --engine ray does not read this kind of file; {_WANTED}")
        return [Source(number=0, path=str(place), name=place.name, kind=kind)]
    files = [path for path in _files(place) if bare_ending(path) in _KINDS]
    if files:
        return [
            Source(number=k, path=str(path), name=path.relative_to(place).as_posix(), kind=_KINDS[bare_ending(path)])
            for k, path in enumerate(files)
        ]
    if not pictures_of(place):
        raise InputError(f"{name}: holds no such file; {_WANTED}")
    return [Source(number=0, path=str(place), name=place.name, kind="pictures")]


def pictures_of(folder: Path) -> list[Path]:
    """Pictures of a folder and those below, sorted."""
    return [path for path in _files(folder) if path.suffix.lower() in PICTURE_ENDINGS]


def _files(folder: Path) -> list[Path]:
    def hidden(path: Path) -> bool:
        return any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)

    return sorted(path for path in folder.rglob("*") if path.is_file() and not hidden(path))


def parse_columns(pairs: list[str] | None) -> dict[str, str]:
    """``["text=body"]`` to a dictionary: a post's key to the column that holds it.

    Raises:
        InputError: If a pair is no such pair.
    """
    keys = ("id", "text", "words", "image", "caption", "tags", "convention")
    found = {}
    for pair in pairs or ():
        key, equals, column = pair.partition("=")
        if not equals or not column:
            raise InputError(f"--column {pair!r}: expected KEY=COLUMN, e.g. text=body")
        if key not in keys:
            raise InputError(f"--column {pair!r}: {key!r} is none of {', '.join(keys)}{nearest(key, keys)}")
        found[key] = column
    return found


def check_columns(source: Source, columns: Mapping[str, str]) -> None:
    """Refuse a source without a column that was named, or without any text, before a model is loaded.

    Raises:
        InputError: Naming the column and those that are there.
    """
    there = columns_of(source)
    if there is None:
        return
    for key, column in columns.items():
        if column not in there:
            shown = ", ".join(there) or "none"
            raise InputError(
                f"{source.path}: no column {column!r} for {key!r}; there are: {shown}{nearest(column, there)}"
            )
    if not {*TEXTS} & {*there, *columns}:
        shown = ", ".join(there)
        raise InputError(f"{source.path}: no column 'text'; there are: {shown}; name the one with --column text=NAME")


def columns_of(source: Source) -> list[str] | None:
    """Names of the columns; None where nothing tells them.

    Raises:
        InputError: If the file cannot be read as what its name says.
    """
    if source.kind == "csv":
        with csv_reader(source.path) as reader:
            return list(reader.fieldnames or ())
    if source.kind == "parquet":
        with open_parquet(source.path) as file:
            return list(file.schema_arrow.names)
    return _keys(source.path) if source.kind == "jsonl" else None


def _keys(path: str) -> list[str] | None:
    """Keys of the first lines of JSONL; None where none of them is an object, for each line is then told of."""
    found: dict[str, None] = {}
    with open_bytes(path) as stream:
        try:
            head = [line for line in islice(stream, _LOOKED_AT) if line.strip(b"\xef\xbb\xbf \t\r\n")]
        except Exception:  # a damaged file is told of when it is read
            return None
    if head and head[0].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        raise InputError(f"{path}: holds a JSON array; --engine ray reads one object a line")
    for value in _objects(head):
        found.update(dict.fromkeys(value))
    return list(found) or None


def _objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            value = parse_json(line.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


@contextmanager
def csv_reader(path: str) -> Iterator[csv.DictReader]:
    """Records of a CSV file with a heading, of a ``.tsv`` with tabs. A byte that is not UTF-8 costs its row."""
    csv.field_size_limit(_MOST_CELL)
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        yield csv.DictReader(stream, delimiter="\t" if bare_ending(path) == ".tsv" else ",")


def open_parquet(path: str) -> Any:
    """A ``pyarrow.parquet.ParquetFile``.

    Raises:
        InputError: If pyarrow is missing, or the file is no Parquet.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError(f"{path}: Parquet needs pyarrow; run pip install 'dpe-mner[ray]'") from None
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from None
