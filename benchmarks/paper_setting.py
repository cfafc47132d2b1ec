"""Default prediction against the paper's setting in the same code: 150 spans, 5 steps, posts as they come.

Both predict the same labelled posts; F1 is given without and with a threshold calibrated for each.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

import dpe_mner
from dpe_mner import predictor
from dpe_mner.data.dataset import load_dataset
from dpe_mner.evaluation.calibration import Validation
from dpe_mner.model import DPEMNERModel
from dpe_mner.representations.windows import Window
from dpe_mner.training.validate import Validator


def in_file_order(windows: Sequence[Window], batch_size: int, images: Any = None) -> Iterator[list[Window]]:
    """Batches without regard to length."""
    for start in range(0, len(windows), batch_size):
        yield list(windows[start : start + batch_size])


@contextmanager
def paper_setting(model: DPEMNERModel) -> Iterator[None]:
    """All encoder layers for captions and no batches by length, while it lasts."""
    kept, grouped = model.settings.encoder, predictor.batches_of_like_shape
    model.configure(encoder={"caption_layers": None})
    predictor.batches_of_like_shape = in_file_order  # type: ignore[assignment]
    try:
        yield
    finally:
        predictor.batches_of_like_shape = grouped
        model.configure(encoder=kept)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--label-map", default="OTHER=MISC")
    parser.add_argument("--model")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    old, _, new = arguments.label_map.partition("=")
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text, label_map={old: new}).posts
    model = dpe_mner.load(arguments.model)
    validator = Validator(posts, batch_size=arguments.batch_size)
    validator(model)  # warms up
    times: dict[str, list[float]] = {"default": [], "paper": []}
    found: dict[str, Validation] = {}
    for _ in range(arguments.repeats):  # in turn, so that a drifting machine touches both alike
        started = time.perf_counter()
        found["default"] = validator(model)
        times["default"].append(time.perf_counter() - started)
        with paper_setting(model):
            started = time.perf_counter()
            found["paper"] = validator(model, steps=5, spans=150)
            times["paper"].append(time.perf_counter() - started)
    print(f"{len(posts)} posts, {arguments.threads} threads, torch {torch.__version__}")
    for name, what in (("default", "default"), ("paper", "150 spans, 5 steps, no batches by length")):
        seconds, scores = statistics.median(times[name]), found[name]
        print(
            f"{what:42} {seconds:7.2f} s {len(posts) / seconds:6.1f} posts/s  F1 {scores.report.overall.f1:.2f}, "
            f"calibrated {scores.calibrated.overall.f1:.2f}"
        )
    ratio = statistics.median(times["paper"]) / statistics.median(times["default"])
    print(f"the default is {ratio:.1f} times as fast")


if __name__ == "__main__":
    main()
