"""Where a command writes: checked against what it reads before any work is done, and written whole at its end."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpe_mner.commands.console import cannot_write
from dpe_mner.data.files import bare_ending, compression, expand, require_zstd
from dpe_mner.data.joining import PICTURE_ENDINGS
from dpe_mner.data.writing import is_special, write_whole
from dpe_mner.errors import InputError

Read = str | os.PathLike[str] | None
"""A file or folder that a command reads; ``-`` is standard input, None nothing."""

_CHECKPOINT = frozenset(
    {"README.md", "baseline.json", "config.json", "history.jsonl", "merges.txt", "metrics.json", "model.onnx"}
    | {"recipe.yaml", "runtime.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
    | {"vocab.json", "vocab.txt"}
)
_STORED = frozenset({*PICTURE_ENDINGS, ".safetensors", ".onnx", ".mdb", ".bin"})


def check_place(
    option: str,
    path: Path,
    *,
    endings: Sequence[str] = (),
    others: Iterable[Read] = (),
    beside: Sequence[str] = (),
) -> None:
    """Refuse a place that cannot be written, while it costs nothing, and one that something is read from.

    Args:
        option: Its name, e.g. ``--html``.
        path: The file to write.
        endings: What its name may end in, before ``.gz`` or ``.zst``; anything when empty.
        others: Files and folders that are read or written besides; see :func:`overwrites`.
        beside: Endings of files that are written beside it for a while.

    Raises:
        InputError: Naming the option and what to give.
    """
    name = str(path)
    example = f"{option} out{endings[0] if endings else '.html'}"
    if name.startswith("-") or name in {"", "."}:
        raise InputError(f"{option} needs a file to write, got {name!r}; e.g. {example}")
    if endings and bare_ending(path) not in endings:
        raise InputError(f"{option} {name}: the name must end in {' or '.join(endings)}, e.g. {example}")
    with cannot_write(path):
        if os.path.isdir(path):
            raise InputError(f"{option} {name}: is a folder; give a file, e.g. {example}")
        if not os.path.isdir(path.parent):
            raise InputError(f"{option} {name}: cannot be written (no folder {path.parent}); create it first")
    if compression(path) == ".zst":
        require_zstd(path)
    others = list(others)
    refuse_read(option, path, others)
    for ending in beside if not is_special(path) else ():
        refuse_read(f"{option} (written to {path.name}{ending} first)", Path(os.path.realpath(path) + ending), others)


def refuse_read(option: str, path: Path, others: Iterable[Read]) -> None:
    """Refuse to write what is read.

    Raises:
        InputError: Naming the option.
    """
    if any(other is not None and overwrites(path, other) for other in others):
        raise InputError(f"{option} {path}: this command already reads or writes that file; give another name")


def check_folder(option: str, path: Path, *, others: Iterable[Read] = ()) -> None:
    """Refuse a folder to write to that is a file, or one that something is read from.

    Raises:
        InputError: Naming the option and what to give.
    """
    if str(path).startswith("-") or not str(path):
        raise InputError(f"{option} needs a folder to write, got {str(path)!r}")
    with cannot_write(path):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise InputError(f"{option} {path}: is a file; give a folder")
    for other in others:
        if other is not None and os.path.isdir(path) and _same(path, other):
            raise InputError(f"{option} {path}: this command reads that folder; give another one")


def check_standard_output(others: Iterable[Read]) -> None:
    """Refuse a standard output that is one of the files read: it would be read while it grows.

    Raises:
        InputError: Naming the file.
    """
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # in memory
        return
    for other in others:
        if stat.S_ISREG(status.st_mode) and other is not None and _is(other, status):
            raise InputError(f"{other}: standard output is that file, which this command reads; give another one")


def overwrites(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether writing a file would change what is read: the same file under any name, or a part of a folder.

    Parts of a folder are the files of a checkpoint, pictures and weights; results may lie in one.
    """
    if _same(path, other):
        return True
    folder, target = expand(other), os.path.realpath(path)
    if not os.path.isdir(folder) or not os.path.exists(target):
        return False
    inside = Path(target).is_relative_to(os.path.realpath(folder))
    return inside and (os.path.basename(target) in _CHECKPOINT or Path(target).suffix.lower() in _STORED)


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    if os.fspath(other) != "-" and os.path.realpath(one) == os.path.realpath(expand(other)):
        return not is_special(one)
    try:
        status = os.stat(one)
    except (OSError, ValueError):  # it does not exist
        return False
    return not is_special(one) and _is(other, status)


def _is(name: str | os.PathLike[str], status: os.stat_result) -> bool:
    """Whether a name (``-`` for standard input) is the file of this status."""
    try:
        found = os.fstat(sys.stdin.fileno()) if os.fspath(name) == "-" else os.stat(expand(name))
    except (OSError, ValueError, AttributeError):
        return False
    return os.path.samestat(found, status)


def write_text(path: Path, content: str) -> None:
    """Write a file whole; until then what was there stays.

    Raises:
        InputError: If it cannot be written.
    """
    with cannot_write(path):
        write_whole(path, content)
