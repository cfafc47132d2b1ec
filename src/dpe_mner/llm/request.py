"""A request to a model and the answer to it, as far as a result depends on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked.

    Attributes:
        model: Its name at the endpoint.
        messages: System, examples, post; a picture is in them with all its bytes.
        temperature: None sends none.
        seed: None sends none.
        max_tokens: Of the answer; None sends none.
        more: Further fields of the request's body.
        endpoint: Its address, for two may have other models of one name.
    """

    model: str
    messages: list[dict[str, Any]]
    temperature: float | None = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    endpoint: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """What is sent, without what is not set."""
        values = {
            "model": self.model,
            "messages": self.messages,
            "temperature": self.temperature,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            **self.more,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def key(self) -> str:
        """SHA-256 of all of it."""
        content = json.dumps([self.endpoint, self.body], sort_keys=True)
        return hashlib.sha256(content.encode("ascii")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens, as the endpoint counts them."""

    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(tokens_in=self.tokens_in + other.tokens_in, tokens_out=self.tokens_out + other.tokens_out)

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        content: The text; empty when the model refused to answer.
        finish_reason: ``stop``, ``length`` for one that was cut off, ``content_filter`` ...
        usage: None when the endpoint tells none.
        model: The model that answered, as the endpoint names it: a snapshot.
    """

    content: str
    finish_reason: str
    usage: Usage | None
    model: str
