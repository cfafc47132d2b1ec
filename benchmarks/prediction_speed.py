"""Time of predicting a file, as a ratio to the bare encoder pass over the same batches, in one run."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

import dpe_mner
from dpe_mner.bench.clock import in_turns
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.words import words_of
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import Predictor, batches_of_like_shape, collate_windows
from dpe_mner.representations.encoders import transformers_encoder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--model")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs="*", default=[0, 1, 2, 3, 5], help="0: the checkpoint's")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text).posts
    model = dpe_mner.load(arguments.model)
    predictor = Predictor(model, model.tokenizer)
    windows = [w for i, p in enumerate(posts) for w in model.tokenizer.windows(p, words_of(p), index=i)]
    batches = [
        collate_windows(batch, pad_id=model.tokenizer.pad_id)
        for batch in batches_of_like_shape(windows, arguments.batch_size)
    ]

    transformers = transformers_encoder(model.text_encoder.encoder, model.config.encoder_config())

    @torch.inference_mode()
    def encode(encoder: Callable[..., object]) -> None:
        for batch in batches:
            encoder(input_ids=batch.text.ids, attention_mask=batch.text.mask.long())

    def predict(steps: int) -> None:
        list(predictor(posts, PredictionOptions(steps=steps or None, batch_size=arguments.batch_size)))

    base = "bare encoder, posts only"
    works: dict[str, Callable[[], None]] = {
        base: lambda: encode(model.text_encoder.encoder),
        "the same by transformers": lambda: encode(transformers),
    }
    for steps in arguments.steps:
        name = f"predict, {steps or model.settings.reasoning.steps} steps{'' if steps else ' (default)'}"
        works[name] = lambda steps=steps: predict(steps)  # type: ignore[misc]
    seconds = in_turns(works, repeats=arguments.repeats, device=model.device)
    print(f"{len(posts)} posts, {len(batches)} batches, {arguments.threads} threads, torch {torch.__version__}")
    for name, spent in seconds.items():
        print(f"{name:30} {spent:7.2f} s  {spent / seconds[base]:5.2f}x  {len(posts) / spent:7.0f} posts/s")


if __name__ == "__main__":
    main()
