"""Files a command writes beside its answer, checked before any work is done and written at its end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dpe_mner.errors import InputError


def check_place(option: str, path: Path, *, endings: Sequence[str] = (), others: Sequence[Path | None] = ()) -> None:
    """Refuse a place that cannot be written, while it costs nothing.

    Args:
        option: Its name, e.g. ``--html``.
        path: The file to write.
        endings: What its name may end in; anything when empty.
        others: Files that are read or written besides.

    Raises:
        InputError: Naming the option and what to give.
    """
    name = str(path)
    example = f"{option} out{endings[0] if endings else '.html'}"
    if name.startswith("-") or name in {"", "."}:
        raise InputError(f"{option} needs a file to write, got {name!r}; e.g. {example}")
    if endings and path.suffix.lower() not in endings:
        raise InputError(f"{option} {name}: the name must end in {' or '.join(endings)}, e.g. {example}")
    if os.path.isdir(path):
        raise InputError(f"{option} {name}: is a folder; give a file, e.g. {example}")
    if not os.path.isdir(path.parent):
        raise InputError(f"{option} {name}: cannot be written (no folder {path.parent}); create it first")
    if any(given is not None and _same(path, given) for given in others):
        raise InputError(f"{option} {name}: this command already reads or writes that file; give another name")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.absolute() == other.absolute() or one.samefile(other)
    except OSError:  # one of them does not exist
        return False


def write_text(path: Path, content: str) -> None:
    """Write a file whole.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        # A name in a file may hold half a surrogate pair, which UTF-8 cannot.
        path.write_text(content, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
