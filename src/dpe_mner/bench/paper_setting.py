"""Part ``paper_setting``: the default against the paper's setting in the same code: 150 spans, 5 steps, file order.

The paper says nothing of batches by length and of reading captions through fewer layers, so its side has neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dpe_mner.bench.clock import in_turns
from dpe_mner.bench.subject import Subject
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.data.words import words_of
from dpe_mner.decoding.candidates import Row
from dpe_mner.evaluation.calibration import calibrated
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import merge_windows
from dpe_mner.predictor import collate_windows, decode_trace
from dpe_mner.representations.windows import Window
from dpe_mner.types import Prediction

STEPS, SPANS = 5, 150


def measure(subject: Subject) -> dict[str, Any]:
    """Posts a second of both settings, how many times as long the paper's takes, and F1 where posts are labelled.

    F1 is given at threshold 0 and with the threshold that is best for each setting on these very posts.
    """
    works = {"default": lambda: subject.predict(threshold=0.0), "paper": lambda: as_in_the_paper(subject)}
    seconds = in_turns(works, repeats=subject.repeats, device=subject.device)
    found: dict[str, Any] = {
        "posts_per_second": {name: round(len(subject.posts) / s, 1) for name, s in seconds.items()},
        "ratio_to_default": round(seconds["paper"] / seconds["default"], 3),
    }
    if subject.labelled:
        gold = gold_of_posts(subject.posts)
        scored = {name: calibrated(gold, work()) for name, work in works.items()}
        found["f1"] = {name: round(validation.report.overall.f1, 2) for name, validation in scored.items()}
        found["f1_calibrated"] = {name: round(v.calibrated.overall.f1, 2) for name, v in scored.items()}
    return {"paper_setting": found}


def as_in_the_paper(subject: Subject) -> list[Prediction]:
    """Predictions without a threshold; posts are batched as they come, each batch padded to its longest."""
    tokenizer = subject.tokenizer
    words = [words_of(post) for post in subject.posts]
    windows = [w for i, post in enumerate(subject.posts) for w in tokenizer.windows(post, words[i], index=i)]
    found: list[list[tuple[Window, list[Row]]]] = [[] for _ in subject.posts]
    with all_layers(subject.model):
        for start in range(0, len(windows), subject.batch_size):
            together = windows[start : start + subject.batch_size]
            batch = collate_windows(together, pad_id=tokenizer.pad_id).to(subject.device)
            trace = subject.model.reason(batch, steps=STEPS, spans=SPANS)
            for window, rows in zip(together, decode_trace(subject.model, trace, threshold=0.0), strict=True):
                found[window.post].append((window, rows))
    labels = subject.model.labels
    return [
        Prediction(id=post.id, text=own.text, entities=merge_windows(own, rows, labels))
        for post, own, rows in zip(subject.posts, words, found, strict=True)
    ]


@contextmanager
def all_layers(model: DPEMNERModel) -> Iterator[None]:
    """All encoder layers for captions and tags, while it lasts."""
    kept = model.settings.encoder.caption_layers
    model.configure(encoder={"caption_layers": None})
    try:
        yield
    finally:
        model.configure(encoder={"caption_layers": kept})
