"""What one request, and all of them together, may ask of the service."""

from __future__ import annotations

from dataclasses import dataclass

from dpe_mner.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of the service; what goes beyond is refused with a message that names the bound.

    Attributes:
        body_bytes: Of one request's body.
        held_bytes: Of all bodies that are being received or worked on.
        pixels: Of one picture, as its header gives them.
        characters: Of one post's text, or of its words joined.
        caption_characters: Of one caption; of one post's tags joined.
        posts: In one batch.
        queue: Posts that wait to be computed.
        batch: Posts computed together; never changes an answer.
        steps: Reasoning steps that may be asked for.
        spans: Noisy spans that may be asked for.
        patience: Seconds that a model with nothing to do waits for the posts it was given last time.
        header_seconds: Until the head of a request must be there.
        body_seconds: Until a body must be there.
        stop_seconds: That a stopping service gives to what it accepted.

    Raises:
        InputError: If a bound is not positive, or two do not fit each other.
    """

    body_bytes: int = 16 * 2**20
    held_bytes: int = 256 * 2**20
    pixels: int = 40_000_000
    characters: int = 10_000
    caption_characters: int = 2_000
    posts: int = 256
    queue: int = 1024
    batch: int = 32
    steps: int = 20
    spans: int = 512
    patience: float = 0.003
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    stop_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0 and name != "patience":
                raise InputError(f"the limit {name} must be above 0, got {value}")
        if self.posts > self.queue:
            raise InputError(f"a batch of {self.posts} posts never fits a queue of {self.queue}; raise the queue")
        if self.body_bytes > self.held_bytes:
            raise InputError(f"a body of {self.body_bytes} bytes never fits {self.held_bytes} held at once")
