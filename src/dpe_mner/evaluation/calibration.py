"""Choose the decision threshold on validation, and score without and with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpe_mner.evaluation.score import Labelled, Report, score
from dpe_mner.types import Prediction


@dataclass(frozen=True)
class Validation:
    """Scores without and with the threshold calibrated on these very posts.

    Attributes:
        report: Without a threshold, all posts together.
        calibrated: With it.
        threshold: The one with the best F1; of several sources, with the best mean of theirs.
        by_source: Scores with the threshold of each source of posts, when there are several.
        scores: Of the entities found without a threshold.
        correct: Whether each of them is right.
    """

    report: Report
    calibrated: Report
    threshold: float
    by_source: Mapping[str, Report] = field(default_factory=dict)
    scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    correct: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @property
    def f1(self) -> float:
        """What an epoch is chosen by: the mean over the sources, or the F1 of the only one."""
        each = [report.overall.f1 for report in self.by_source.values()]
        return sum(each) / len(each) if each else self.calibrated.overall.f1

    def figures(self) -> dict[str, Any]:
        """What training records of an epoch: figures with the threshold, the threshold, and F1 without it."""
        overall = self.calibrated.overall
        figures: dict[str, Any] = {
            "f1": self.f1,
            "precision": overall.precision,
            "recall": overall.recall,
            "threshold": self.threshold,
            "f1_without_threshold": self.report.overall.f1,
        }
        if self.by_source:
            figures["f1_by_source"] = {name: report.overall.f1 for name, report in self.by_source.items()}
        return figures


def calibrated(
    gold: Sequence[Set[Labelled]], predictions: Sequence[Prediction], sources: Sequence[str] | None = None
) -> Validation:
    """Choose the threshold of anything that scores its entities; the same for our model and for baselines.

    Args:
        gold: Entities of each post, in characters.
        predictions: Made without a threshold.
        sources: Where each post comes from, when several sources count alike.
    """
    rows = [
        (entity.score, (entity.start, entity.end, entity.label) in wanted, post)
        for post, (wanted, prediction) in enumerate(zip(gold, predictions, strict=True))
        for entity in prediction.entities
    ]
    scores, correct = np.array([s for s, _, _ in rows]), np.array([c for _, c, _ in rows], dtype=bool)
    if sources is None:
        curves = f1_curve(scores, correct, sum(map(len, gold)))
    else:
        owner = np.array([sources[post] for _, _, post in rows])
        each = []
        for name in dict.fromkeys(sources):
            wanted = sum(len(entities) for entities, source in zip(gold, sources, strict=True) if source == name)
            each.append(f1_curve(scores[owner == name], correct[owner == name], wanted))
        curves = np.mean(each, axis=0)
    threshold = best_threshold(curves)

    def report(kept: Sequence[Prediction], name: str | None = None) -> Report:
        chosen = [i for i in range(len(gold)) if name is None or sources is None or sources[i] == name]
        return score([gold[i] for i in chosen], [[(e.start, e.end, e.label) for e in kept[i].entities] for i in chosen])

    kept = above(predictions, threshold)
    by_source = {name: report(kept, name) for name in dict.fromkeys(sources or ())}
    return Validation(report(predictions), report(kept), threshold, by_source, scores, correct)


def above(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """Predictions with the entities that score at least a threshold.

    Args:
        predictions: Made with a lower threshold or none.
        threshold: Least score.
    """
    return [
        replace(prediction, entities=[e for e in prediction.entities if e.score >= threshold])
        for prediction in predictions
    ]


_GRID = np.arange(0.0, 0.96, 0.01)


def f1_curve(scores: NDArray[Any], correct: NDArray[np.bool_], gold: int) -> NDArray[np.float64]:
    """F1 at each threshold of the grid 0.00, 0.01, ... 0.95.

    Args:
        scores: Score of each predicted entity, all of them without a threshold.
        correct: Whether it is right.
        gold: Number of gold entities.
    """
    kept = scores[None, :] >= _GRID[:, None]
    curve: NDArray[np.float64] = 2 * (kept & correct[None, :]).sum(1) / np.maximum(kept.sum(1) + gold, 1)
    return curve


def best_threshold(curve: NDArray[np.float64], *, smooth: int = 3) -> float:
    """Threshold of the best F1, taken from the middle of a plateau rather than from a lucky spike.

    Args:
        curve: F1 at each threshold, of :func:`f1_curve` or a mean of several.
        smooth: F1 is averaged over this many neighbouring thresholds on either side.

    Returns:
        A value in [0, 1).
    """
    padded = np.pad(curve, smooth, mode="edge")
    window = np.ones(2 * smooth + 1) / (2 * smooth + 1)
    smoothed = np.convolve(padded, window, mode="valid")
    best = np.flatnonzero(smoothed >= smoothed.max() - 1e-12)
    return round(float(_GRID[best[len(best) // 2]]), 2)
