"""Part ``prediction``: posts a second, and the time of a prediction as a ratio to the bare encoder's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dpe_mner.bench.clock import in_turns
from dpe_mner.bench.subject import Subject, encode_bare, peak_memory, without_vision
from dpe_mner.bench.workload import batches_of
from dpe_mner.representations.bert import BertEncoder
from dpe_mner.representations.encoders import transformers_encoder

STEPS = (1, 2, 3, 5)
SPANS = (16, 60, 150)


def measure(subject: Subject) -> dict[str, Any]:
    """Posts a second, and ratios to the bare encoder on the same batches.

    The bare encoder reads the posts; ``encoder_all`` reads their captions and tags too, as prediction must.
    ``encoder_transformers`` is transformers' class with the same weights, where the model's own is another.
    ``without_captions`` predicts the posts' text alone, and is held against ``encoder_without_captions``, the encoder
    over the batches that gives; both are left out where the posts have neither captions nor tags.
    """
    model = subject.model
    encoder = model.text_encoder.encoder
    batches = batches_of(model, subject.posts, subject.batch_size)
    works: dict[str, Callable[[], object]] = {
        "encoder": lambda: encode_bare(encoder, batches),
        "encoder_all": lambda: encode_bare(encoder, batches, everything=True),
        "default": subject.predict,
    }
    for steps in STEPS:
        works[f"steps_{steps}"] = lambda steps=steps: subject.predict(steps=steps)  # type: ignore[misc]
    for spans in SPANS:
        works[f"spans_{spans}"] = lambda spans=spans: subject.predict(spans=spans)  # type: ignore[misc]
    if isinstance(encoder, BertEncoder):
        other = transformers_encoder(encoder, model.config.encoder_config())
        works["encoder_transformers"] = lambda: encode_bare(other, batches)
    bare = [without_vision(post) for post in subject.posts]
    if any(post.caption or post.tags for post in subject.posts):
        shorter = batches_of(model, bare, subject.batch_size)
        works["encoder_without_captions"] = lambda: encode_bare(encoder, shorter)
        works["without_captions"] = lambda: subject.predict(bare)
    seconds = in_turns(works, repeats=subject.repeats, device=subject.device)
    result = {
        "batches": len(batches),
        "posts_per_second": {name: round(len(subject.posts) / s, 1) for name, s in seconds.items()},
        "ratio_to_encoder": round(seconds["default"] / seconds["encoder"], 3),
        "ratio_to_encoder_with_captions": round(seconds["default"] / seconds["encoder_all"], 3),
        "ratios": {name: round(s / seconds["encoder"], 3) for name, s in seconds.items()},
        "peak_memory_mb": round(peak_memory(subject.device), 1),
    }
    if "without_captions" in seconds:
        ratio = seconds["without_captions"] / seconds["encoder_without_captions"]
        result["ratio_to_encoder_without_captions"] = round(ratio, 3)
    return result
