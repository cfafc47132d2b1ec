"""Many requests at once: never more than the limit, tried again where it makes sense, every answer kept at once."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dpe_mner.llm.cache import AnswerCache
from dpe_mner.llm.client import BusyError, Endpoint, RefusedError, StoppingError
from dpe_mner.llm.ledger import Ledger, Limits
from dpe_mner.llm.request import Answer, Request, Usage

_IN_A_ROW = 5  # posts without an answer, one after the other, that end a run


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How requests are sent.

    Attributes:
        concurrency: Under way at the same time, at most.
        retries: Further tries after the first one failed.
        first_wait: Seconds before the first of them; doubled for each further one.
        longest_wait: What this grows to, in seconds.
        longest_asked: An endpoint that asks to wait longer ends the run, in seconds.
    """

    concurrency: int = 8
    retries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_asked: float = 300.0

    def wait(self, attempt: int, asked: float, generator: random.Random) -> float:
        """Seconds before another try: doubled each time, spread over its upper half, and never less than asked for.

        Args:
            attempt: From 0.
            asked: What the endpoint asked for.
            generator: Spreads, so that clients do not come back all at once.
        """
        most = min(self.longest_wait, self.first_wait * 2**attempt)
        return max(asked, most * (0.5 + 0.5 * generator.random()))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What became of one post.

    Attributes:
        answer: None without one.
        cached: Whether it was there already.
        refused: Why the endpoint did not want it.
        failed: Why no try brought an answer.
    """

    answer: Answer | None = None
    cached: bool = False
    refused: str = ""
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What became of all posts.

    Attributes:
        replies: In order; None for a post that was not come to.
        requests: Sent, tries included.
        retries: Of them, further tries.
        spent: Tokens of this call alone.
        stopped: Why it ended early; empty if it did not.
    """

    replies: list[Reply | None]
    requests: int
    retries: int
    spent: Usage
    stopped: str


class Asker:
    """Asks for every post of a list.

    Args:
        endpoint: Where.
        cache: Answers that are there, and the place for new ones.
        pace: How fast.
        limits: What may be spent.
        generator: Of waiting times.
    """

    def __init__(
        self, endpoint: Endpoint, cache: AnswerCache, *, pace: Pace, limits: Limits, generator: random.Random
    ) -> None:
        self.endpoint, self.cache, self.pace, self.limits = endpoint, cache, pace, limits
        self.generator = generator

    def ask(self, make: Callable[[int], Request], count: int, *, progress: Callable[[], None] | None = None) -> Asked:
        """Ask, in order, from this thread.

        Args:
            make: Gives the request of a post by its number; called in another thread, as it may read a picture.
            count: How many posts.
            progress: Called for each that is done.

        Raises:
            InputError: If an answer cannot be kept, or what ``make`` raises.
        """
        self.cache.prepare()
        return asyncio.run(self._ask(make, count, progress or (lambda: None)))

    async def _ask(self, make: Callable[[int], Request], count: int, progress: Callable[[], None]) -> Asked:
        asyncio.get_running_loop().set_exception_handler(_tell_fault)
        # Of this call: what belongs to an event loop must not outlive it.
        self._make, self._progress = make, progress
        self._replies: list[Reply | None] = [None] * count
        self._ledger = Ledger(self.limits)
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ended, self._stopped = asyncio.Event(), ""
        self._requests = self._retries = self._in_a_row = 0
        self._not_before = 0.0
        numbers = iter(range(count))
        async with self.endpoint:
            workers = [asyncio.create_task(self._work(numbers)) for _ in range(min(self.pace.concurrency, count))]
            try:
                await asyncio.gather(*workers)
            finally:  # after a fault of one, the others end too, before the connections are closed
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return Asked(
            replies=self._replies,
            requests=self._requests,
            retries=self._retries,
            spent=self._ledger.spent,
            stopped=self._stopped,
        )

    async def _work(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            request = await asyncio.to_thread(self._make, number)
            async with self._asking[request.key]:  # of two posts that are the same the second finds the answer
                reply = await self._reply(request)
            self._replies[number] = reply
            if reply is not None:
                self._progress()
            if self._ended.is_set():
                return

    async def _reply(self, request: Request) -> Reply | None:
        kept = self.cache.read(request.key)
        if kept is not None:
            self._in_a_row = 0
            return Reply(answer=kept, cached=True)
        why = ""
        for attempt in range(self.pace.retries + 1):
            while asyncio.get_running_loop().time() < self._not_before and not self._ended.is_set():
                await self._until(self._not_before)
            if self._ended.is_set():
                return None
            if not await self._ledger.begin():
                self._stop(self._ledger.told())
                return None
            if self._ended.is_set():  # while it waited for its turn
                await self._ledger.end(None)
                return None
            self._retries += attempt > 0
            try:
                return Reply(answer=await self._once(request))
            except BusyError as error:
                why = str(error)
                await self._back_off(attempt, error)
            except RefusedError as error:
                return self._without(Reply(refused=str(error)))
            except StoppingError as error:
                self._stop(str(error))
                return None
        return self._without(Reply(failed=why))

    async def _once(self, request: Request) -> Answer:
        """One try that the ledger let begin; an answer is kept before anything else happens."""
        answer: Answer | None = None
        self._requests += 1
        try:
            answer = await self.endpoint.ask(request)
            self.cache.write(request.key, answer)
        finally:
            await self._ledger.end(None if answer is None else answer.usage)
        self._in_a_row = 0
        if self.limits.any and not (answer.usage and answer.usage.tokens):
            self._stop(f"{self.endpoint.name}: tells no number of tokens, so that no limit can be kept")
        return answer

    async def _back_off(self, attempt: int, error: BusyError) -> None:
        """Wait before another try; when the endpoint itself asks for it, all others wait too."""
        if error.wait > self.pace.longest_asked:
            self._stop(f"{self.endpoint.name}: asks to come back in {error.wait:.0f} s ({error})")
        if attempt >= self.pace.retries:
            return
        moment = asyncio.get_running_loop().time() + self.pace.wait(attempt, error.wait, self.generator)
        if error.wait:
            self._not_before = max(self._not_before, moment)
        await self._until(moment)

    async def _until(self, moment: float) -> None:
        """Sleep until a time of the event loop, or the end of the run."""
        left = moment - asyncio.get_running_loop().time()
        if left > 0 and not self._ended.is_set():
            try:
                await asyncio.wait_for(self._ended.wait(), left)
            except TimeoutError:
                return

    def _without(self, reply: Reply) -> Reply:
        """A post without an answer; many in a row mean that the fault is not the posts'."""
        self._in_a_row += 1
        if self._in_a_row >= _IN_A_ROW:
            why = reply.refused or reply.failed
            self._stop(f"{self.endpoint.name}: {self._in_a_row} posts in a row had no answer, the last one: {why}")
        return reply

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        self._ended.set()


def _tell_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio does with a task's exception that nobody waits for; a request to end the process is none."""
    if not isinstance(context.get("exception"), KeyboardInterrupt):
        loop.default_exception_handler(context)
