"""Reading lines without losing the good ones: every reader yields posts and collects problems with file and line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dpe_mner.errors import InputError


@dataclass(frozen=True)
class Problem:
    """Something wrong in a file.

    Attributes:
        path: The file.
        line: From 1; 0 when it concerns the whole file.
        kind: A short name to count by, e.g. ``bad-tag``.
        message: What is wrong and what to do.
    """

    path: str
    line: int
    kind: str
    message: str

    @property
    def loses_data(self) -> bool:
        """Whether a line could not be used, so that a command must not end in success."""
        return self.kind in {
            "not-utf8", "bad-json", "bad-post", "bad-tag", "bad-columns", "bad-visual-text", "bad-entity", "empty-post",
        }  # fmt: skip

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.message}"


def open_lines(path: str | os.PathLike[str], problems: list[Problem]) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file (``-`` for standard input); a line that is not UTF-8 becomes a problem.

    Raises:
        InputError: If the file cannot be opened.
    """
    name = os.fspath(path)
    try:
        stream = sys.stdin.buffer if name == "-" else Path(name).open("rb")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); check the path") from None
    with stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problems.append(
                    Problem(name, number, "not-utf8", f"not valid UTF-8 (byte {error.start + 1}); the line is skipped")
                )
                continue
            yield number, line.rstrip("\r\n")
