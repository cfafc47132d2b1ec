"""Parts on the disk: a file of answers, and beside it one of failures, each there whole or not at all.

The failures come first, so a part with its answers is a part that is done. Its name says what it holds; one that is
written twice, because a worker was thought dead, takes the place of its like.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpe_mner.data.jsonl import json_line
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.scale.answering import Answers
from dpe_mner.types import Prediction

MANIFEST, FAILED = "manifest.json", "failed"
ENDINGS = (".jsonl", ".parquet")
_PART = re.compile(r"part-(\d{6,}-\d{6,})(\.jsonl|\.parquet)")
_LEFT_OVER = re.compile(r"\..*\.part(\.jsonl|\.parquet|\.json)")  # of data.writing.replacing


@dataclass(frozen=True, kw_only=True)
class Written:
    """What is in a part.

    Attributes:
        rows: Posts with an answer.
        failed: Posts without.
        bytes: Of the file of answers.
        sha256: Of it.
    """

    rows: int
    failed: int
    bytes: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def part_path(folder: Path, name: str, ending: str) -> Path:
    """Where the answers of a part lie."""
    return folder / f"part-{name}{ending}"


def failed_path(folder: Path, name: str) -> Path:
    """Where the failures of a part lie."""
    return folder / FAILED / f"part-{name}.jsonl"


def write_part(
    folder: Path, name: str, ending: str, answers: Answers, *, source: str, explain: bool, run: str
) -> Written:
    """Write a part whole.

    Args:
        folder: Of the run.
        name: Of the part.
        ending: One of ``ENDINGS``.
        answers: What became of its rows.
        source: What the answers call the file they are for.
        explain: Write explanations too.
        run: The run it belongs to; a worker that outlived its run writes nothing into another.

    Raises:
        InputError: If the folder is another run's by now.
        OSError: If it cannot be written.
    """
    if read_manifest(folder).get("run") != run:
        raise InputError(f"{folder}: is another run's by now; the part {name} is not written")
    beside = failed_path(folder, name)
    if answers.failed:
        rows = ({"file": source, "row": row, "id": id_, "reason": reason} for row, id_, reason in answers.failed)
        write_whole(beside, "".join(map(json_line, rows)))
        _keep(beside.parent)
    else:
        beside.unlink(missing_ok=True)
    content = encoded(answers.found, ending, source=source, explain=explain)
    write_whole(part_path(folder, name, ending), content)
    return Written(
        rows=len(answers.found),
        failed=len(answers.failed),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _keep(folder: Path) -> None:
    """Let the names in a folder outlast a power cut, before what relies on them is written."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # not every system opens folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def encoded(found: Iterable[tuple[int, Prediction]], ending: str, *, source: str, explain: bool) -> bytes:
    """Answers as a file holds them."""
    rows = [{"file": source, "row": row, **one.as_dict(explain=explain)} for row, one in found]
    if ending == ".jsonl":
        return "".join(map(json_line, rows)).encode()
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    places = [(name, arrow.int64()) for name in ("start", "end", "word_start", "word_end")]
    entity = arrow.struct([("text", arrow.string()), ("label", arrow.string()), *places, ("score", arrow.float64())])
    columns = [("file", arrow.string()), ("row", arrow.int64()), ("id", arrow.string())]
    columns += [("entities", arrow.list_(entity)), ("warnings", arrow.list_(arrow.string()))]
    if explain:
        columns.append(("explanation", arrow.string()))
        short = {name for name, _ in columns}
        for row in rows:
            row["explanation"] = json.dumps({key: value for key, value in row.items() if key not in short})
    stream = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(map(_storable, rows)), schema=arrow.schema(columns)), stream)
    return stream.getvalue()


def _storable(value: Any) -> Any:
    """Half a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {key: _storable(entry) for key, entry in value.items()}
    return list(map(_storable, value)) if isinstance(value, list) else value


def parts_there(folder: Path, ending: str) -> Iterator[str]:
    """Names of the parts that lie in a folder."""
    for path in folder.iterdir():
        found = _PART.fullmatch(path.name)
        if found and found.group(2) == ending:
            yield found.group(1)


def drop_left_over(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    for place in (folder, folder / FAILED):
        for path in place.iterdir() if place.is_dir() else ():
            if _LEFT_OVER.fullmatch(path.name):
                path.unlink(missing_ok=True)


def look_at(folder: Path, name: str, ending: str) -> Written:
    """What is in a part, read from it.

    Raises:
        OSError: If it cannot be read.
    """
    path, beside = part_path(folder, name, ending), failed_path(folder, name)
    content = path.read_bytes()
    if ending == ".jsonl":
        rows = content.count(b"\n")
    else:
        import pyarrow.parquet as parquet

        rows = parquet.read_metadata(path).num_rows
    failed = beside.read_bytes().count(b"\n") if beside.exists() else 0
    return Written(rows=rows, failed=failed, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; empty where there is none that can be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
