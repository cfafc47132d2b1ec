"""A stream cut into stretches that are worked on together: long ones for speed, none that keeps its reader waiting."""

from __future__ import annotations

import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_SECONDS = 1.0  # a stretch may take, about
_PATIENCE = 0.02  # seconds to wait for more of a live stream once something is there


class Pace:
    """How long the next stretch may be, by the time the last one took.

    Args:
        least: Items of the first stretch, and of none fewer.
        most: Items of a stretch at most.
        seconds: What a stretch may take, about.
    """

    def __init__(self, least: int, most: int, seconds: float = _SECONDS) -> None:
        self.least, self.most, self.seconds = min(least, most), most, seconds
        self.size = self.least

    def took(self, seconds: float) -> None:
        """Take note of the time of a stretch."""
        if seconds < self.seconds / 2:
            self.size = min(2 * self.size, self.most)
        elif seconds > 2 * self.seconds:
            self.size = max(self.size // 2, self.least)


def stretches(
    items: Iterable[T], pace: Pace, *, live: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator[list[T]]:
    """Items in order, a stretch at a time; the time until the next one is asked for sets the pace.

    An error of ``items`` is raised after the stretch of what came before it.

    Args:
        items: Any stream.
        pace: Says how long a stretch may be.
        live: The items come when they like: a stretch ends when no further one is there.
        clock: Gives seconds.
    """
    source: Iterator[list[T]] = _waiting(items, pace) if live else _full(items, pace)
    for stretch in source:
        begun = clock()
        yield stretch
        if len(stretch) >= pace.size:  # a short one says nothing of a long one
            pace.took(clock() - begun)


def is_live(name: str) -> bool:
    """Whether what is read (``-`` for standard input) may come bit by bit: a pipe or a terminal, not a plain file."""
    try:
        status = os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)
    except (OSError, ValueError, AttributeError):  # in memory
        return False
    return not stat.S_ISREG(status.st_mode)


def _full(items: Iterable[T], pace: Pace) -> Iterator[list[T]]:
    stream = iter(items)
    while True:
        stretch: list[T] = []
        try:
            while len(stretch) < pace.size:
                stretch.append(next(stream))
        except StopIteration:
            if stretch:
                yield stretch
            return
        except Exception:
            if stretch:
                yield stretch
            raise
        yield stretch


class _End(Generic[T]):
    """The end of a stream, or what ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _waiting(items: Iterable[T], pace: Pace) -> Iterator[list[T]]:
    """Read ahead in a thread: whoever waits for a line that does not come cannot work on those that came."""
    ahead: queue.Queue[T | _End] = queue.Queue(pace.most)

    def read() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                ahead.put(item)
        except BaseException as met:
            error = met
        ahead.put(_End(error))

    threading.Thread(target=read, daemon=True).start()
    end: _End | None = None
    while end is None:
        stretch: list[T] = []
        found = ahead.get()
        while not isinstance(found, _End):
            stretch.append(found)
            if len(stretch) >= pace.size:
                break
            try:
                found = ahead.get(timeout=_PATIENCE)
            except queue.Empty:
                break
        else:
            end = found
        if stretch:
            yield stretch
    if end.error is not None:
        raise end.error
