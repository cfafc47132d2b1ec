"""A model's F1 and calibration error on the validation part of each corpus of a recipe, with the threshold it has.

    python benchmarks/corpora.py recipes/tweets-minilm.yaml --folder path/to/data
    python benchmarks/corpora.py recipes/tweets-minilm.yaml --folder path/to/data --model runs/student

A model that knows a corpus's convention answers by it; any other as it always does. Types that a corpus does not
annotate count neither as found nor as missed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import dpe_mner
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.evaluation.reliability import reliability
from dpe_mner.evaluation.score import score
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.sources import Corpus, load_corpora


def figures(model: Any, corpus: Corpus) -> tuple[dict[str, Any], list[tuple[float, bool]]]:
    """F1, precision and recall on a corpus, and of each answer its score and whether it is right."""
    known = corpus.convention is not None and corpus.convention.name in model.conventions
    posts = [replace(post, entities=None, convention=post.convention if known else None) for post in corpus.valid.posts]
    left_out = set(corpus.convention.unannotated) if corpus.convention is not None else set()
    gold = gold_of_posts(corpus.valid.posts)
    answers = [[e for e in entities if e.label not in left_out] for entities in model.predict(posts, batch_size=64)]
    overall = score(gold, [[(e.start, e.end, e.label) for e in found] for found in answers]).overall
    told = {"f1": overall.f1, "precision": overall.precision, "recall": overall.recall}
    marked = [
        (e.score, (e.start, e.end, e.label) in wanted)
        for found, wanted in zip(answers, gold, strict=True)
        for e in found
    ]
    return {name: round(value, 2) for name, value in told.items()} | {"posts": len(posts)}, marked


def main(
    recipe: Annotated[Path, typer.Argument(help="Recipe with data.sources.")],
    folder: Annotated[Path, typer.Option(help="Folder of the data.")],
    model: Annotated[str | None, typer.Option(help="Checkpoint; the bundled model if absent.")] = None,
) -> None:
    """Print the figures of each corpus."""
    corpora = load_corpora(load_recipe(recipe, [f"data.folder={folder}"]).data, log=lambda line: None)
    loaded = dpe_mner.load(model)
    each, marked = {}, []
    for corpus in corpora:
        each[corpus.name], answers = figures(loaded, corpus)
        marked += answers
    scores, correct = np.array([s for s, _ in marked]), np.array([c for _, c in marked], dtype=bool)
    mean = sum(told["f1"] for told in each.values()) / len(each)
    error = round(reliability(scores, correct).error, 4)
    typer.echo(json.dumps({"mean_f1": round(mean, 2), "calibration_error": error, "corpora": each}, indent=2))


if __name__ == "__main__":
    typer.run(main)
