"""Files that appear whole or not at all: written beside their place and renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dpe_mner.data.files import compressed, expand
from dpe_mner.errors import InputError


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether there is something that is neither file nor folder, as ``/dev/null`` or a named pipe: written as is."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place beside a file, which takes the file's name when the block ends well; otherwise the file stays as it was.

    A link keeps pointing where it did; a file that is replaced keeps its permissions. What is no plain file is given
    as it is. The place has the file's own ending.

    Raises:
        OSError: If it cannot be written.
    """
    target = Path(os.path.realpath(expand(path)))
    if is_special(target):
        yield target
        return
    handle, name = tempfile.mkstemp(prefix=".", suffix=f".part{target.suffix}", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        keep_mode(part, target)
        yield part
        take_place(part, target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def keep_mode(part: Path, target: Path) -> None:
    """Give a new file the permissions of the one it replaces, or those any new file would have."""
    if target.exists():
        shutil.copymode(target, part)
    else:
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)


def take_place(part: Path, target: Path) -> None:
    """Rename a finished file, its content on the disk first."""
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, target)


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file that no reader meets half of, compressed if its ending says so.

    Raises:
        OSError: If it cannot be written; what was there before is there still.
        InputError: If what the compression needs is not installed.
    """
    # A name in a file may hold half a surrogate pair, which UTF-8 cannot.
    plain = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    packed = compressed(plain, path)
    with replacing(path) as part:
        part.write_bytes(packed)


def lock_alone(handle: int, name: str | os.PathLike[str]) -> None:
    """Keep a file to this process until it closes it or ends, however it ends.

    Args:
        handle: Of the open file.
        name: What an error message calls what is kept.

    Raises:
        InputError: If another process has it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{os.fspath(name)}: is being written by another run; wait for it to end") from None
    except OSError:  # a file system without locks
        return
