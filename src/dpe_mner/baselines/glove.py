"""Word vectors in GloVe's text format: a word and its numbers, separated by spaces, on each line."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpe_mner.data.source import Problem, open_lines
from dpe_mner.errors import InputError


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors. *Shape of vectors:* (words, width)."""

    words: list[str]
    vectors: NDArray[np.float32]


def read_glove(path: str, *, width: int, limit: int | None = None, lowercase: bool = False) -> WordVectors:
    """Read a file of word vectors.

    Args:
        path: The file (Pennington et al., 2014); ``~`` is understood.
        width: Numbers of each line.
        limit: Read this many lines; GloVe writes its words by frequency.
        lowercase: Make words lower case; of equal words the first counts.

    Raises:
        InputError: If the file cannot be read, naming the first line that does not fit.
    """
    found: dict[str, list[float]] = {}
    for number, line in _lines(os.path.expanduser(path)):
        if limit is not None and number > limit:
            break
        word, values = _entry(line, width=width, where=f"{path}:{number}")
        found.setdefault(word.lower() if lowercase else word, values)
    if not found:
        raise InputError(f"{path}: holds no word vector; give a GloVe text file")
    return WordVectors(list(found), np.array(list(found.values()), dtype=np.float32))


def _lines(path: str) -> Iterator[tuple[int, str]]:
    problems: list[Problem] = []
    for number, line in open_lines(path, problems):
        if problems:
            break
        yield number, line
    if problems:
        raise InputError(f"{path}:{problems[0].line}: not valid UTF-8; give a GloVe text file")


def _entry(line: str, *, width: int, where: str) -> tuple[str, list[float]]:
    parts = line.rstrip(" ").split(" ")
    values = _numbers(parts[-width:])
    # A few words of the largest files hold spaces (". . ."); a number before the vector is a vector too wide.
    if values is not None and len(parts) > width and (len(parts) == width + 1 or _numbers(parts[1:-width]) is None):
        return " ".join(parts[:-width]), values
    if len(parts) > 1 and _numbers(parts[1:]) is not None:
        raise InputError(
            f"{where}: {len(parts) - 1} numbers where {width} were expected; set bilstm.word_size to the file's width"
        )
    raise InputError(f"{where}: not a word followed by {width} numbers; give a GloVe text file")


def _numbers(parts: list[str]) -> list[float] | None:
    try:
        values = [float(part) for part in parts]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None
