"""Prediction by several processes of one machine: in order, in bounded memory, one model and one thread each."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from dpe_mner.errors import InputError
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.scale.loading import ModelChoice
from dpe_mner.types import Post, Prediction

_AHEAD = 2  # stretches a worker has before it, so that it never waits for the reader
_model: Any = None  # of a worker, with how to predict


class Workers:
    """A pool of processes that each hold the model.

    Args:
        count: Processes.
        model: What each of them loads.
        options: How to predict.

    Raises:
        InputError: If there are too few to be a pool.
    """

    def __init__(self, count: int, model: ModelChoice, options: PredictionOptions) -> None:
        if count < 2:
            raise InputError(f"workers must be at least 2, got {count}")
        self.count = count
        # Spawned, not forked: a fork would copy whatever threads and locks the caller has.
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(replace(model, threads=1), options),
        )

    def __call__(self, stretches: Iterable[list[Post]]) -> Iterator[list[Prediction]]:
        """Predictions of each stretch, in order.

        A thread reads ahead, so that what is finished is handed on while the reader waits for more; it stops reading
        when the workers have enough before them.

        Args:
            stretches: Posts, so many at a time as one worker takes.

        Raises:
            InputError: If a worker was killed, or whatever reading or predicting raised, after all before it.
        """
        ahead: queue.Queue[Future[list[Prediction]] | BaseException | None] = queue.Queue(_AHEAD * self.count)
        ended = threading.Event()

        def read() -> None:
            end: BaseException | None = None
            try:
                for stretch in stretches:
                    if not _put(ahead, self._pool.submit(_predict, stretch), ended):
                        return
            except BaseException as error:
                end = error
            _put(ahead, end, ended)

        threading.Thread(target=read, daemon=True).start()
        try:
            while (found := ahead.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found.result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process ended before its posts were done (out of memory?); try fewer --workers"
            ) from None
        finally:
            ended.set()

    def __enter__(self) -> Workers:
        """Nothing is begun before there are posts."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; what they have not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def few(posts: Iterable[Post], most: int) -> tuple[bool, Iterator[Post]]:
    """Whether there are at most so many posts, and all of them again.

    An error met on the way is raised after the posts before it.

    Args:
        posts: Any stream.
        most: Posts that are read to learn it.
    """
    stream = iter(posts)
    first: list[Post] = []
    try:
        first.extend(islice(stream, most + 1))
    except Exception as error:
        return True, chain(first, _raising(error))
    return len(first) <= most, chain(first, stream)


def _raising(error: Exception) -> Iterator[Post]:
    raise error
    yield


def _put(ahead: queue.Queue[Any], item: Any, ended: threading.Event) -> bool:
    """Wait for room, unless nobody takes anything any more."""
    while not ended.is_set():
        try:
            ahead.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _begin(choice: ModelChoice, options: PredictionOptions) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first of them ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _model
    _model = choice, options


def _end_with_parent() -> None:
    """A killed parent tells its workers nothing, and they would wait for more for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _predict(posts: list[Post]) -> list[Prediction]:
    global _model
    model, options = _model
    if isinstance(model, ModelChoice):  # loaded here, where what is wrong with it reaches the caller
        model = model.load()
        _model = model, options
    return list(model.predictions(posts, options))
