"""Posts to requests: the prompt, the examples of each post, its picture, and how the model is to answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dpe_mner.errors import InputError
from dpe_mner.llm.examples import Examples, NearestExamples, NoExamples, SameExamples
from dpe_mner.llm.picture import picture_address
from dpe_mner.llm.prompt import Prompt
from dpe_mner.llm.request import Request
from dpe_mner.types import Post


@dataclass(frozen=True, kw_only=True)
class Questions:
    """How posts are asked.

    Attributes:
        model: Its name at the endpoint.
        prompt: Instruction, types, and what of the picture is shown.
        examples: Shown before the post.
        temperature: None sends none.
        seed: None sends none.
        max_tokens: Of the answer; None sends none.
        more: Further fields of the request's body.
        longest_side: Of a picture that is sent, in pixels.
        fetch_urls: Download pictures given as URLs.
        endpoint: Its address.
    """

    model: str
    prompt: Prompt
    examples: Examples = field(default_factory=NoExamples)
    temperature: float | None = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    longest_side: int = 512
    fetch_urls: bool = False
    endpoint: str = ""

    def request(self, post: Post) -> tuple[Request, str]:
        """The request of a post, and what could not be shown of its picture and why.

        Raises:
            InputError: If pictures are sent and Pillow is not installed.
        """
        address, missing = None, ""
        if self.prompt.picture == "image":
            address, missing = picture_address(post, longest_side=self.longest_side, fetch_urls=self.fetch_urls)
        elif self.prompt.picture == "caption" and not (post.caption or "").strip():
            missing = "no caption; asked with the text alone"
        request = Request(
            model=self.model,
            messages=self.prompt.messages(post, self.examples.of(post), address),
            temperature=self.temperature,
            seed=self.seed,
            max_tokens=self.max_tokens,
            more=self.more,
            endpoint=self.endpoint,
        )
        return request, missing


def choose_examples(pool: Sequence[Post], shots: int, *, nearest: bool, generator: random.Random) -> Examples:
    """What is shown before each post.

    Args:
        pool: Labelled posts.
        shots: How many; 0 for none.
        nearest: Those most like each post instead of the same for all.
        generator: Chooses the same for all.

    Raises:
        InputError: If there are fewer than wanted.
    """
    if shots == 0:
        return NoExamples()
    if len(pool) < shots:
        raise InputError(f"--shots {shots}: the file of --examples holds {len(pool)} posts; give a lower number")
    return NearestExamples(pool, shots) if nearest else SameExamples(pool, shots, generator)
