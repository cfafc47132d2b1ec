"""Reading lines without losing the good ones: every reader yields posts and collects problems with file and line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from dpe_mner.data.files import READ_ERRORS, open_bytes

MOST_LINE = 256 * 2**20  # bytes; a small compressed file may hold a line that no memory does


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
            "cut-short",
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
    with open_bytes(path) as stream:
        for number, raw in _numbered(name, stream, problems):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problems.append(
                    Problem(name, number, "not-utf8", f"not valid UTF-8 (byte {error.start + 1}); the line is skipped")
                )
                continue
            yield number, line.rstrip("\r\n")


def _numbered(name: str, stream: BinaryIO, problems: list[Problem]) -> Iterator[tuple[int, bytes]]:
    """Raw lines; where reading fails, as in a compressed file that was cut off, the lines before are good."""
    number = 0
    while True:
        try:
            raw = stream.readline(MOST_LINE + 1)
        except READ_ERRORS as error:
            reason = getattr(error, "strerror", None) or str(error) or "damaged"
            message = f"cannot be read further ({reason}); everything after this line is missing"
            problems.append(Problem(name, number, "cut-short", message))
            return
        if not raw:
            return
        number += 1
        if len(raw) > MOST_LINE:
            message = (
                f"has more than {MOST_LINE >> 20} MB; give one post a line; this line and all after it are missing"
            )
            problems.append(Problem(name, number, "cut-short", message))
            return
        yield number, raw
