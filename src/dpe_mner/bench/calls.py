"""Parts ``latency`` and ``scaling``: how long one call takes, of a single post and as one size grows."""

from __future__ import annotations

import time
from collections.abc import Callable

from dpe_mner.bench.clock import in_turns, percentile, wait_for
from dpe_mner.bench.subject import Subject
from dpe_mner.bench.workload import one_batch, posts_of_length, with_picture_tokens

AXES: dict[str, tuple[int, ...]] = {
    "posts": (16, 64, 256),
    "words": (8, 16, 32, 64),
    "spans": (16, 60, 150),
    "steps": (1, 2, 5, 10),
    "caption_words": (4, 16, 48),
    "picture_tokens": (16, 64, 256),
}
_LATENCY_POSTS = 100


def measure_latency(subject: Subject) -> dict[str, dict[str, float]]:
    """Milliseconds of posts predicted one by one: median and 99th percentile."""
    times = []
    for post in (list(subject.posts) * _LATENCY_POSTS)[:_LATENCY_POSTS]:
        wait_for(subject.device)
        started = time.perf_counter()
        subject.predict([post])
        times.append(1000 * (time.perf_counter() - started))
    return {"latency_ms": {name: round(percentile(times, share), 2) for name, share in (("p50", 0.5), ("p99", 0.99))}}


def measure_scaling(subject: Subject) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds a call takes as one size grows and the others stay.

    Picture tokens are random image features y_c, which any model takes, trained on them or not.
    """
    table: dict[str, dict[str, float]] = {}
    for axis, sizes in AXES.items():
        works = {str(size): call_of_size(subject, axis, size) for size in sizes}
        seconds = in_turns(works, repeats=subject.repeats, device=subject.device)
        table[axis] = {size: round(1000 * s, 2) for size, s in seconds.items()}
    return {"scaling_ms": table}


def call_of_size(subject: Subject, axis: str, size: int) -> Callable[[], object]:
    """A call whose size along one of :data:`AXES` is given: 64 posts of 16 words and 12 caption words otherwise."""
    model = subject.model
    posts = posts_of_length(
        size if axis == "posts" else 64,
        size if axis == "words" else 16,
        caption_words=size if axis == "caption_words" else 12,
    )
    if axis == "picture_tokens":
        batch = with_picture_tokens(one_batch(model, posts), size, model.settings.fusion.coarse_image_size)
        return lambda: model.reason(batch)
    steps, spans = (size if axis == "steps" else None), (size if axis == "spans" else None)
    return lambda: subject.predict(posts, steps=steps, spans=spans)
