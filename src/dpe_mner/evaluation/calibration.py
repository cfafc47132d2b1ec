"""Choose the decision threshold on validation, and score without and with it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from dpe_mner.evaluation.score import Labelled, Report, score
from dpe_mner.types import Prediction


@dataclass(frozen=True)
class Validation:
    """Scores without and with the threshold calibrated on these very posts, and that threshold."""

    report: Report
    calibrated: Report
    threshold: float

    def figures(self) -> dict[str, float]:
        """What training records of an epoch: figures with the threshold, the threshold, and F1 without it."""
        overall = self.calibrated.overall
        return {
            "f1": overall.f1,
            "precision": overall.precision,
            "recall": overall.recall,
            "threshold": self.threshold,
            "f1_without_threshold": self.report.overall.f1,
        }


def calibrated(gold: Sequence[Set[Labelled]], predictions: Sequence[Prediction]) -> Validation:
    """Choose the threshold of anything that scores its entities; the same for our model and for baselines.

    Args:
        gold: Entities of each post, in characters.
        predictions: Made without a threshold.
    """
    rows = [
        (entity.score, (entity.start, entity.end, entity.label) in wanted)
        for wanted, prediction in zip(gold, predictions, strict=True)
        for entity in prediction.entities
    ]
    scores, correct = np.array([s for s, _ in rows]), np.array([c for _, c in rows], dtype=bool)
    threshold = best_threshold(scores, correct, sum(map(len, gold)))

    def report(kept: Sequence[Prediction]) -> Report:
        return score(gold, [[(e.start, e.end, e.label) for e in prediction.entities] for prediction in kept])

    return Validation(report(predictions), report(above(predictions, threshold)), threshold)


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


def best_threshold(scores: np.ndarray, correct: np.ndarray, gold: int, *, smooth: int = 3) -> float:
    """Threshold of the best F1, taken from the middle of a plateau rather than from a lucky spike.

    Args:
        scores: Score of each predicted entity, all of them without a threshold.
        correct: Whether it is right.
        gold: Number of gold entities.
        smooth: F1 is averaged over this many neighbouring thresholds on either side.

    Returns:
        A value in [0, 1).
    """
    grid = np.arange(0.0, 0.96, 0.01)
    kept = scores[None, :] >= grid[:, None]
    f1 = 2 * (kept & correct[None, :]).sum(1) / np.maximum(kept.sum(1) + gold, 1)
    padded = np.pad(f1, smooth, mode="edge")
    window = np.ones(2 * smooth + 1) / (2 * smooth + 1)
    smoothed = np.convolve(padded, window, mode="valid")
    best = np.flatnonzero(smoothed >= smoothed.max() - 1e-12)
    return round(float(grid[best[len(best) // 2]]), 2)
