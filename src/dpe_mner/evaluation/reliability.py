"""Scores that mean something: how often entities of a score are right, and the map that makes a score say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpe_mner.decoding.candidates import calibrated_scores
from dpe_mner.settings import DecisionSettings

BINS = 10
_FEWEST = 50  # entities; fewer say too little to fit two numbers to
_PULL = 1.0  # strength of the pull towards slope 1 and offset 0, in entities


@dataclass(frozen=True)
class Reliability:
    """Entities in bins of equal width by their score.

    Attributes:
        score: Mean score of each bin that holds an entity.
        precision: Share of its entities that are right.
        count: Its entities.
        error: Expected calibration error (Guo et al. 2017): the mean of |precision - score|, by count.
    """

    score: list[float]
    precision: list[float]
    count: list[int]
    error: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def reliability(scores: NDArray[Any], correct: NDArray[np.bool_], *, bins: int = BINS) -> Reliability:
    """How well scores tell how often entities are right.

    Args:
        scores: In [0, 1].
        correct: Whether each entity is right.
        bins: How many.
    """
    place = np.minimum((scores * bins).astype(int), bins - 1)
    there = [b for b in range(bins) if (place == b).any()]
    mean = [float(scores[place == b].mean()) for b in there]
    right = [float(correct[place == b].mean()) for b in there]
    count = [int((place == b).sum()) for b in there]
    gaps = [abs(s - r) * n for s, r, n in zip(mean, right, count, strict=True)]
    return Reliability(mean, right, count, sum(gaps) / max(len(scores), 1))


def fit_scores(scores: NDArray[Any], correct: NDArray[np.bool_], threshold: float) -> DecisionSettings:
    """The threshold and the map of scores (Platt 1999) that say how often an entity of a score is right.

    Only entities that are given out count. With few of them, or only right or wrong ones, scores stay as they are.

    Args:
        scores: As the network gives them, of entities found without a threshold.
        correct: Whether each is right.
        threshold: Least score, in the network's own scores.
    """
    kept = scores >= threshold
    if kept.sum() < _FEWEST or correct[kept].all() or not correct[kept].any():
        return DecisionSettings(threshold=threshold)
    slope, offset = _platt(scores[kept], correct[kept])
    fitted = DecisionSettings(threshold=threshold, score_slope=slope, score_offset=offset)
    mapped = float(calibrated_scores(np.array([threshold]), fitted)[0])
    return fitted.model_copy(update={"threshold": np.floor(mapped * 1e4) / 1e4})  # down: nobody falls below it


def held_out_error(scores: NDArray[Any], correct: NDArray[np.bool_], threshold: float) -> float:
    """Calibration error where each half of the entities is mapped by what the other half says."""
    half = np.arange(len(scores)) % 2 == 0
    mapped = np.zeros(len(scores))
    for own in (half, ~half):
        fitted = fit_scores(scores[~own], correct[~own], threshold)
        mapped[own] = calibrated_scores(scores[own].astype(np.float64), fitted)
    kept = scores >= threshold
    return reliability(mapped[kept], correct[kept]).error


def _platt(scores: NDArray[Any], correct: NDArray[np.bool_]) -> tuple[float, float]:
    from scipy.optimize import minimize

    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    odds, sign = np.log(clipped / (1 - clipped)), np.where(correct, 1.0, -1.0)

    def loss(values: NDArray[Any]) -> float:
        slope, offset = np.exp(values[0]), values[1]
        fit = np.logaddexp(0, -sign * (slope * odds + offset)).sum()
        return float(fit + _PULL * (values[0] ** 2 + values[1] ** 2))

    found = minimize(loss, np.zeros(2), method="BFGS").x
    return round(float(np.exp(found[0])), 4), round(float(found[1]), 4)
