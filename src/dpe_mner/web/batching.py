"""Posts of concurrent requests computed together by one thread, which alone uses the model.

A post's answer does not depend on the batch it is computed in, so batching is free of consequence; posts with other
options (seed, steps, spans, explanation) go into another batch. While a batch is computed, what arrives waits and
makes the next one. A model with nothing to do begins at once with the first post if the last batch was a single post,
and otherwise waits a moment for as many as it had: clients that wait for their answers ask again together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dpe_mner.errors import InputError
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.types import Post, Prediction
from dpe_mner.web.limits import Limits
from dpe_mner.web.metrics import Metrics
from dpe_mner.web.refusals import Refused

_log = logging.getLogger("dpe_mner.web")
_RETRY_SECONDS = 1  # after which a client that met a full queue may ask again

Answer = Prediction | Exception


@dataclass(frozen=True, eq=False)
class _Waiting:
    post: Post
    options: PredictionOptions
    answer: asyncio.Future[Prediction]


class Batcher:
    """Answers posts in batches; everything but the computing happens in the event loop.

    Args:
        model: Used by one thread only.
        limits: Of the queue and of a batch.
        metrics: Told what happens.
    """

    def __init__(self, model: Predicts, limits: Limits, metrics: Metrics) -> None:
        self.model, self.limits, self.metrics = model, limits, metrics
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dpe-mner-model")
        self._expected = 1
        self._closing = self._ended = False

    @property
    def waiting(self) -> int:
        """Posts that wait to be computed."""
        return len(self._queue)

    @property
    def stopped(self) -> bool:
        """Whether nothing more is accepted: it was told to stop, or its loop ended."""
        return self._closing or self._ended

    def submit(self, posts: Sequence[Post], options: PredictionOptions) -> list[asyncio.Future[Prediction]]:
        """Accept posts, all or none; a future that is cancelled before its turn is not computed.

        Raises:
            Refused: If the queue is full, or the service stops.
        """
        if self.stopped:
            raise Refused(503, "stopping", "the service is stopping; ask another one", headers={"Connection": "close"})
        if len(self._queue) + len(posts) > self.limits.queue:
            self._forget_cancelled()
        if len(self._queue) + len(posts) > self.limits.queue:
            raise Refused(
                429,
                "busy",
                f"{len(self._queue)} posts wait already, at most {self.limits.queue} may; try again in a moment",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            )
        loop = asyncio.get_running_loop()
        accepted = [_Waiting(post, options, loop.create_future()) for post in posts]
        self._queue.extend(accepted)
        self.metrics.waiting.set(len(self._queue))
        self._arrived.set()
        return [each.answer for each in accepted]

    async def run(self) -> None:
        """Compute until :meth:`close`, and then what is left."""
        loop = asyncio.get_running_loop()
        try:
            while await self._something_waits():
                await self._for_company()
                batch = self._take()
                if not batch:
                    continue
                self._expected = len(batch)
                started = time.perf_counter()
                answers = await loop.run_in_executor(self._thread, self._compute, batch)
                self.metrics.computing.observe(time.perf_counter() - started)
                self.metrics.batches.observe(len(batch))
                for each, answer in zip(batch, answers, strict=True):
                    _tell(each.answer, answer)
                self.metrics.posts.inc(len(batch))
        finally:
            self._ended = True
            self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Accept nothing more; :meth:`run` ends when all that was accepted is answered."""
        self._closing = True
        self._arrived.set()

    async def _something_waits(self) -> bool:
        while not self._queue:
            if self._closing:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def _for_company(self) -> None:
        """Wait for as many posts as the last batch had, for a moment at most."""
        wanted = min(self._expected, self.limits.batch)
        if self._closing or len(self._queue) >= wanted:
            return
        until = time.monotonic() + self.limits.patience
        while len(self._queue) < wanted and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        """The first that waits, and those behind it with the same options."""
        self._forget_cancelled()
        batch: list[_Waiting] = []
        rest: deque[_Waiting] = deque()
        for each in self._queue:
            fits = len(batch) < self.limits.batch and (not batch or each.options == batch[0].options)
            (batch if fits else rest).append(each)
        self._queue = rest
        self.metrics.waiting.set(len(rest))
        return batch

    def _forget_cancelled(self) -> None:
        kept = deque(each for each in self._queue if not each.answer.done())
        self.metrics.dropped.inc(len(self._queue) - len(kept))
        self._queue = kept
        self.metrics.waiting.set(len(kept))

    def _compute(self, batch: Sequence[_Waiting]) -> list[Answer]:
        """In the model's thread. A post that fails takes no other with it."""
        posts, options = [each.post for each in batch], batch[0].options
        try:
            return list(self.model.predictions(posts, options))
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [self._compute([each])[0] for each in batch]


def _tell(future: asyncio.Future[Prediction], answer: Answer) -> None:
    if future.done():  # its client went away meanwhile
        return
    if isinstance(answer, Prediction):
        future.set_result(answer)
    elif isinstance(answer, InputError):
        future.set_exception(Refused(422, "invalid", str(answer)))
    else:
        _log.error("a post could not be computed", exc_info=answer)
        future.set_exception(Refused(500, "fault", "a fault of the service; its log says more"))
