"""Training runs without the training: what the tests of ``dpe-mner reproduce`` share."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from conftest import VALID, jsonl

from dpe_mner.baselines.build import KINDS
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.evaluation.score import count, score

GOLD = gold_of_posts(VALID)


def fake_run(recipe, *, lost=0, predictions=True, **extra):
    """What a training run leaves, without the training: all gold entities but ``lost`` of them are found."""
    folder = Path(recipe.output)
    kind = folder.parent.name
    own = {"baseline": kind} if kind in KINDS else {}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump()), encoding="utf-8")
    found, left = [], lost
    for entities in GOLD:
        kept = sorted(entities)[left:] if left else sorted(entities)
        left = max(left - len(entities), 0)
        found.append(kept)
    report = score(GOLD, found)
    rows = [
        {"id": post.id, "entities": [{"start": a, "end": b, "label": c} for a, b, c in spans], "warnings": []}
        for post, spans in zip(VALID, found, strict=True)
    ]
    if predictions:
        (folder / "predictions.jsonl").write_text(jsonl(rows), encoding="utf-8")
    (folder / "metrics.json").write_text(
        json.dumps({"f1": report.overall.f1, "seconds": 60.0} | own | extra), encoding="utf-8"
    )


class FakeTrainer:
    """Remembers what it was asked for; rows lose as many entities as ``lost`` says."""

    def __init__(self, **lost):
        self.lost = {name.replace("_", "-"): number for name, number in lost.items()}
        self.calls = []

    def __call__(self, recipe, row, *, resume, log, progress):
        self.calls.append((row.id, recipe.training.seed, resume))
        lost = self.lost.get(row.id, 0)
        if isinstance(lost, BaseException):
            raise lost
        fake_run(recipe, lost=lost)


def quiet(_: str) -> None:
    pass


def counts_of(*posts):
    """Counts of posts given as (correct, predicted, gold)."""
    gold = [{(k, k + 1, "X") for k in range(g)} for _, _, g in posts]
    found = [[(k, k + 1, "X") for k in range(c)] + [(90 + k, 99, "X") for k in range(p - c)] for c, p, _ in posts]
    return count(gold, found, ["X"])
