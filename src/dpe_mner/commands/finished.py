"""Lines that are kept as they are finished, and a journal that says which run they belong to.

Until a run is over its lines are in ``OUTPUT.part``, plain JSON Lines, a whole line or nothing; what lies at OUTPUT
stays as it is. ``OUTPUT.journal`` says what the lines depend on, so that a later run goes on after them only if it
would have written the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from dpe_mner.commands.console import cannot_write
from dpe_mner.data.files import compression, copy_compressed, require_zstd
from dpe_mner.data.writing import keep_mode, lock_alone, replacing, take_place, write_whole
from dpe_mner.errors import InputError

PART, JOURNAL = ".part", ".journal"
_FORMAT = 1


def as_line(value: dict[str, Any]) -> bytes:
    """A line of JSON. Half a surrogate pair, which UTF-8 cannot hold, is written as JSON's own escape."""
    try:
        return (json.dumps(value, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value) + "\n").encode()


class LineOutput(Protocol):
    """Where finished lines go."""

    done: int
    """Lines that are there."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Add whole lines; they have left this process when the call returns."""

    def finish(self) -> None:
        """All lines are there."""

    def stop(self) -> str:
        """End early. Returns where the finished lines are, or nothing if they are nowhere."""


class OpenLines:
    """Lines to an open stream: standard output, a named pipe, ``/dev/null``.

    Args:
        stream: Of bytes.
        name: What error messages call it.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.stream, self.name = stream, name
        self.done = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Add lines and flush.

        Raises:
            InputError: If the device is full, or cannot be written for another reason than a reader that went away.
            BrokenPipeError: If the reader went away.
        """
        with cannot_write(self.name):
            self.stream.write(b"".join(lines))
            self.stream.flush()
        self.done += len(lines)

    def finish(self) -> None:
        """Nothing is left to do."""

    def stop(self) -> str:
        """Nothing is kept here."""
        return ""


class FinishedLines:
    """Lines to ``OUTPUT.part`` until all are there, then to OUTPUT.

    Args:
        path: The output.
        belongs_to: What the lines depend on, by the name users know it by; values are compared.
        resume: Go on after the lines an earlier run left.

    Raises:
        InputError: If it cannot be written, or lines are there that must not be overwritten or gone on with.
    """

    def __init__(self, path: Path, belongs_to: Mapping[str, str | None], *, resume: bool) -> None:
        self.path = path
        target = os.path.realpath(path)
        self.target, self.part, self.journal = Path(target), Path(target + PART), Path(target + JOURNAL)
        self.done = self._size = 0
        if compression(path) == ".zst":
            require_zstd(path)
        with cannot_write(path):
            new = not self.part.exists()
            self._handle = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                lock_alone(self._handle, self.part)
                self._check_earlier(belongs_to, resume)
                if not self.done:
                    card = {"format": _FORMAT, "belongs_to": dict(belongs_to)}
                    write_whole(self.journal, json.dumps(card, indent=1) + "\n")
                os.ftruncate(self._handle, self._size)  # a last line that is not whole goes
            except BaseException:
                os.close(self._handle)
                if new:
                    self.part.unlink(missing_ok=True)
                raise
        self.earlier = self.done

    def _check_earlier(self, belongs_to: Mapping[str, str | None], resume: bool) -> None:
        again = "remove it, or choose another --output"
        card = _read(self.journal)
        if card is None and self.journal.exists():
            raise InputError(f"{self.journal}: is no journal of dpe-mner, and one is kept there; {again}")
        if card is None and self.part.stat().st_size:
            raise InputError(f"{self.part}: not of a run that can be gone on with (no {self.journal.name}); {again}")
        lines, size = whole_lines(self.part)
        if card is None or not lines:
            return
        here = f"{self.part}: holds {lines} finished lines"
        differing = sorted(k for k in {*belongs_to, *card} if belongs_to.get(k) != card.get(k))
        if differing:
            raise InputError(f"{here} of another run ({', '.join(differing)} differ); {again}")
        if not resume:
            raise InputError(f"{here} of an earlier run; add --resume to go on after them, or remove it")
        self.done, self._size = lines, size

    def write(self, lines: Sequence[bytes]) -> None:
        """Add whole lines; a process killed now leaves them behind.

        Raises:
            InputError: If the disk is full, or the file cannot be written.
        """
        block = memoryview(b"".join(lines))
        written = 0
        try:
            with cannot_write(self.path):
                while written < len(block):
                    written += os.write(self._handle, block[written:])
        finally:  # also of a block that found no room: its lines that are whole count
            for line in lines:
                written -= len(line)
                if written < 0:
                    break
                self._size += len(line)
                self.done += 1

    def finish(self) -> None:
        """Give the output its name, compressed if its ending says so, and drop the journal.

        Raises:
            InputError: If it cannot be written; the lines are still in the part.
        """
        with cannot_write(self.path):
            if compression(self.path):
                with replacing(self.target) as packed, packed.open("wb") as stream:
                    copy_compressed(self.part, stream, self.path)
                self.part.unlink()
            else:
                keep_mode(self.part, self.target)
                take_place(self.part, self.target)
            self.journal.unlink(missing_ok=True)
        os.close(self._handle)

    def stop(self) -> str:
        """Keep the whole lines; without any, nothing is left behind."""
        with suppress(OSError):
            os.ftruncate(self._handle, self._size)
            os.close(self._handle)
            if not self.done:
                self.part.unlink(missing_ok=True)
                self.journal.unlink(missing_ok=True)
        return str(self.part) if self.done else ""


def whole_lines(path: Path) -> tuple[int, int]:
    """Lines of a file that end, and the bytes they take; (0, 0) without a file."""
    lines = size = position = 0
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return 0, 0
    with stream:
        while block := stream.read(1 << 20):
            lines += block.count(b"\n")
            last = block.rfind(b"\n")
            size = position + last + 1 if last >= 0 else size
            position += len(block)
    return lines, size


def _read(journal: Path) -> dict[str, str | None] | None:
    try:
        card = json.loads(journal.read_text(encoding="utf-8"))
        return dict(card["belongs_to"]) if card["format"] == _FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
