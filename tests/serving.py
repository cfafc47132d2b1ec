"""What the tests of the service share: a model that answers at once and remembers its batches, and a real server."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn

from dpe_mner.data.entities import make_entity
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.settings import Convention
from dpe_mner.types import Grounding, Post, Prediction, ReasoningStep, StartSpan
from dpe_mner.web.application import create_app
from dpe_mner.web.limits import Limits
from dpe_mner.web.running import address_of, bind, configured


@dataclass
class Capitals(Predicts):
    """Every word with a capital is a PER; ``batches`` has what was computed together.

    A post that says "refuse" is refused, one that says "fail" fails, and each batch takes ``seconds``,
    and until ``gate`` is open.
    """

    seconds: float = 0.0
    explains: bool = True
    box: tuple[float, float, float, float] | None = None
    pictures: object = None
    batches: list[list[Post]] = field(default_factory=list)
    options: list[PredictionOptions] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    begun: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event | None = None

    @property
    def labels(self) -> list[str]:
        return ["PER", "LOC"]

    @property
    def annotation_conventions(self) -> list[Convention]:
        return []

    @property
    def usual(self) -> tuple[int, int]:
        return 2, 4

    def predictions(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        if options.explain and not self.explains:
            raise InputError("explain: not with this model")
        given = list(posts)
        if not given:
            return
        self.batches.append(given)
        self.options.append(options)
        self.threads.add(threading.get_ident())
        self.begun.set()
        time.sleep(self.seconds)
        if self.gate is not None:
            assert self.gate.wait(20)
        for post in given:
            if "refuse" in (post.text or ""):
                raise InputError("this post is refused")
            if "fail" in (post.text or ""):
                raise RuntimeError("a fault in the model")
        for post in given:
            yield self._answer(post, options)

    def _answer(self, post: Post, options: PredictionOptions) -> Prediction:
        words = words_of(post)
        found = [
            make_entity(words, k, k, "PER", 0.75)
            for k, word in enumerate(words.words)
            if re.match("[A-Z]", word) and not (word == "Picture" and post.caption is None)
        ]
        warnings = [] if len(words) else ["the post has no words"]
        if not options.explain:
            return Prediction(id=post.id, text=words.text, entities=found, warnings=warnings)
        starts = [StartSpan(e.start, e.end, e.word_start, e.word_end, "") for e in found]
        steps = [ReasoningStep(k, 10 - k, found[: k + 1], 0.6, 0.7, {"coarse": 0.5}, starts) for k in (1, 2)]
        there = post.caption is not None
        return Prediction(
            id=post.id,
            text=words.text,
            entities=found,
            steps=steps if len(words) else [],
            relevance={"token": {"coarse": 0.25, "fine": 0.5}} if there else {},
            representations={"x_t": True, "y_ct": there, "y_c": post.image is not None, "y_ft": False, "y_f": False},
            warnings=warnings,
            influence={"coarse": 1.0} if there else {},
            grounding=[Grounding(0, "region", "person", self.box, 0.5, 2.0, 0.5)] if self.box and found else [],
        )


@contextmanager
def served(model: Predicts, limits: Limits | None = None, token: str | None = None) -> Iterator[str]:
    """A real server in a thread of this process, at the address given."""
    limits = limits or Limits()
    bound = bind("127.0.0.1", 0)
    server = uvicorn.Server(configured(create_app(model, limits=limits, token=token), limits))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[bound])), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.005)
        yield address_of(bound)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()
