"""Choose the decision threshold on validation."""

from __future__ import annotations

import numpy as np


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
