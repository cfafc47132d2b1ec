"""What each choice at prediction costs and gives: F1 on labelled posts and time as a ratio to the bare encoder pass."""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

import dpe_mner
from dpe_mner.bench.workload import batches_of
from dpe_mner.data.dataset import load_dataset
from dpe_mner.training.validate import Validator

CHOICES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [  # name, settings.reasoning, settings.encoder
    ("default", {}, {}),
    ("captions through all encoder layers", {}, {"caption_layers": None}),
    ("captions through one encoder layer", {}, {"caption_layers": 1}),
    ("16 spans, 1 a word", {"spans": 16, "spans_per_word": 1.0}, {}),
    ("8 spans, 0.75 a word", {"spans": 8, "spans_per_word": 0.75}, {}),
    ("8 spans, 0.5 a word", {"spans": 8, "spans_per_word": 0.5}, {}),
    ("60 spans", {"spans": 60, "spans_per_word": 0.0}, {}),
    ("2 steps", {"steps": 2}, {}),
    ("3 steps", {"steps": 3}, {}),
    ("5 steps", {"steps": 5}, {}),
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--label-map", default="OTHER=MISC")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    old, _, new = arguments.label_map.partition("=")
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text, label_map={old: new}).posts
    model = dpe_mner.load(arguments.model)
    batches = batches_of(model, posts, 64)
    validator, kept = Validator(posts, batch_size=64), model.settings

    @torch.inference_mode()
    def encoder_alone() -> float:
        started = time.perf_counter()
        for batch in batches:
            model.text_encoder.encoder(input_ids=batch.text.ids, attention_mask=batch.text.mask.long())
        return time.perf_counter() - started

    encoder_alone()
    validator(model)
    print(f"{len(posts)} posts, {arguments.threads} threads; F1 with a threshold calibrated for each row")
    for name, reasoning, encoder in CHOICES:
        model.configure(
            reasoning=kept.reasoning.model_copy(update=reasoning), encoder=kept.encoder.model_copy(update=encoder)
        )
        bare = encoder_alone()  # beside each row, so that a drifting machine touches both alike
        started = time.perf_counter()
        found = validator(model)
        seconds = time.perf_counter() - started
        bare = (bare + encoder_alone()) / 2
        print(f"{name:38} F1 {found.calibrated.overall.f1:.2f}  {seconds / bare:5.2f}x the bare encoder")


if __name__ == "__main__":
    main()
