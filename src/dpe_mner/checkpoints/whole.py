"""Whether a checkpoint's files are whole and belong together, and writing them so that they always are. No PyTorch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpe_mner.data.inside import is_plain_name
from dpe_mner.data.json_values import parse_json
from dpe_mner.errors import InputError

_AGAIN = "fetch or copy the folder anew"
# Of a weight in safetensors: how it is read, all bits but the sign, and those that inf and NaN have.
_KINDS: dict[str, tuple[type, int, int]] = {
    "F16": (np.uint16, 0x7FFF, 0x7C00),
    "BF16": (np.uint16, 0x7FFF, 0x7F80),
    "F32": (np.uint32, 0x7FFFFFFF, 0x7F800000),
}
_STRETCH = 1 << 18  # numbers looked at together, so that they stay in the cache


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: If it is missing or holds something else.
    """
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not valid JSON ({reason[:200]}); {_AGAIN}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a JSON object; {_AGAIN}")
    return values


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files, by name; those that are not there are left out."""
    found = {}
    for name in names:
        if (folder / name).is_file():
            with (folder / name).open("rb") as stream:
                found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def check_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Refuse files that are not those a checkpoint was written with.

    Raises:
        InputError: Naming the first that differs.
    """
    foreign = next((name for name in hashes if not is_plain_name(name)), None)
    if foreign is not None:
        raise InputError(f"{folder}: {foreign[:100]!r} is no file of it; {_AGAIN}")
    found = file_hashes(folder, hashes)
    for name, expected in hashes.items():
        if name not in found:
            raise InputError(f"{folder}: no {name}; {_AGAIN}")
        if found[name] != expected:
            reason = "not the file that was exported with the rest"
            raise InputError(f"{folder / name}: cannot be loaded ({reason}); {_AGAIN}, or export anew")


def check_finite(path: Path) -> None:
    """Refuse a safetensors file with weights that are no numbers, or nothing but zeros.

    Raises:
        InputError: Naming the first weight, or the file if it is none.
    """
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)
    try:
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8:start].tobytes())
        places = {n: (v["dtype"], *v["data_offsets"]) for n, v in header.items() if n != "__metadata__"}
        whole = max((end for _, _, end in places.values()), default=0) + start == len(data)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError):
        whole = False
    if not whole:
        raise InputError(f"{path}: truncated or not a weights file; {_AGAIN}")
    some = False
    for name, (kind, begin, end) in places.items():
        if kind not in _KINDS:
            continue
        reading, size, special = _KINDS[kind]
        values: NDArray[Any] = np.frombuffer(data[start + begin : start + end].tobytes(), dtype=reading)
        for first in range(0, len(values), _STRETCH):
            largest = int((values[first : first + _STRETCH] & size).max(initial=0))
            some = some or largest > 0
            if largest >= special:
                raise InputError(f"{path}: {name} holds values that are no numbers (NaN or infinite); {_AGAIN}")
    if places and not some:
        raise InputError(f"{path}: all weights are zero; {_AGAIN}")


@contextmanager
def replaced_together(folder: Path, *, last: str, stale: Iterable[str] = ()) -> Iterator[Path]:
    """A place to write a checkpoint's files to; they take their place in the folder when all are written.

    What fails before leaves the folder as it was. While files are exchanged ``last``, without which nothing loads, is
    not there: a folder holds one checkpoint or none, never half of each of two.

    Args:
        folder: Created if needed.
        last: The file that makes the others a checkpoint.
        stale: Patterns of files that go unless they are written anew.

    Yields:
        An empty folder.

    Raises:
        InputError: If the folder cannot be written.
    """
    made = not folder.exists()
    part = folder / f".part-{os.getpid()}"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        names = sorted(path.name for path in part.iterdir())
        (folder / last).unlink(missing_ok=True)
        for pattern in stale:
            for path in folder.glob(pattern):
                if path.name not in names:
                    path.unlink()
        for name in [name for name in names if name != last] + [last]:
            os.replace(part / name, folder / name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
