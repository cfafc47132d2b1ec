"""F1 after 1, 2, 3 and 5 reasoning steps, and with the captions left out, at the checkpoint's own threshold."""

from __future__ import annotations

import argparse
from dataclasses import replace

import dpe_mner
from dpe_mner.data.dataset import load_dataset
from dpe_mner.evaluation.answers import evaluate_posts
from dpe_mner.pipeline import PredictionOptions


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--model")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the starting noise")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.data, visual_text=arguments.visual_text, label_map={"OTHER": "MISC"})
    model = dpe_mner.load(arguments.model)
    bare = [replace(post, caption=None, tags=None) for post in dataset.posts]
    print(f"{arguments.data}, {len(dataset.posts)} posts, labels {dataset.sha256[:12]}")
    print("| reasoning steps | F1 | F1 without captions |")
    print("|---|---|---|")
    for steps in (1, 2, 3, 5):
        columns = []
        for posts in (dataset.posts, bare):
            scores = [
                evaluate_posts(model, posts, PredictionOptions(steps=steps, seed=seed, batch_size=64)).overall.f1
                for seed in range(arguments.seeds)
            ]
            columns.append(sum(scores) / len(scores))
        print(f"| {steps} | {columns[0]:.2f} | {columns[1]:.2f} |")


if __name__ == "__main__":
    main()
