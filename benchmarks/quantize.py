"""Prediction with an int8 encoder against float32: time in one run, F1, and answers that differ."""

from __future__ import annotations

import argparse

import torch

import dpe_mner
from dpe_mner.bench.clock import in_turns
from dpe_mner.data.dataset import load_dataset
from dpe_mner.evaluation.answers import evaluate_posts
from dpe_mner.pipeline import PredictionOptions


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text, label_map={"OTHER": "MISC"}).posts
    models = {name: dpe_mner.load(arguments.model, int8=name == "int8") for name in ("float32", "int8")}
    works = {name: lambda model=model: model.predict(posts, batch_size=64) for name, model in models.items()}
    seconds = in_turns(works, repeats=arguments.repeats, device=torch.device("cpu"))
    for name, model in models.items():
        f1 = evaluate_posts(model, posts, PredictionOptions(batch_size=64)).overall.f1
        print(f"{name}: {seconds[name]:.2f} s, {seconds[name] / seconds['float32']:.2f}x, F1 {f1:.2f}")
    some = posts[:200]
    together = models["int8"].predict(some, batch_size=64)
    alone = [models["int8"].predict(post) for post in some]
    differ = sum(
        [(e.start, e.end, e.label) for e in a] != [(e.start, e.end, e.label) for e in b]
        for a, b in zip(alone, together, strict=True)
    )
    print(f"int8: {differ} of {len(some)} posts get other entities alone than in a batch of 64")


if __name__ == "__main__":
    main()
