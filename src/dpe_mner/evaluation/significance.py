"""Whether two models differ by more than chance on the same posts: paired approximate randomization.

The test of Noreen (1989), as Yeh (2000), "More accurate tests for the statistical significance of result
differences", uses it for F1: under the null hypothesis it does not matter which model gave which answer, so the
answers of every post are swapped or not at random, and p is the share of such draws in which F1 differs at least as
much as it does. F1 is no mean over posts, so a t-test would not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpe_mner.evaluation.score import PostCounts

SAMPLES = 10_000
_CELLS = 2_000_000  # of the matrix of swaps held at once
_TIE = 1e-12  # draws as far apart as observed may differ by rounding


def paired_randomization(
    a: Sequence[PostCounts], b: Sequence[PostCounts], *, samples: int = SAMPLES, seed: int = 0
) -> float:
    """Two-sided p-value of the difference in micro F1; the same whichever comes first.

    Args:
        a: Of one model; trained with several seeds, one each. Counts are summed over them, and a post is swapped in all
            of them together.
        b: Of the other, seed by seed, on the same posts in the same order.
        samples: Random draws; p is never below 1 / (samples + 1).
        seed: Of the draws.

    Returns:
        p in (0, 1]; the observed difference counts as a draw of its own, and p is 1 when no post differs.

    Raises:
        ValueError: If the posts or the numbers of seeds are not the same, or ``samples`` is not positive.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if len(a) != len(b) or not a:
        raise ValueError("a paired test needs the same seeds of both models")
    if any(not np.array_equal(one.gold.sum(1), other.gold.sum(1)) for one, other in zip(a, b, strict=True)):
        raise ValueError("both models must be counted on the same posts, in the same order")
    of_a, of_b = _over_types_and_seeds(a), _over_types_and_seeds(b)
    difference = (of_b - of_a)[(of_a != of_b).any(axis=1)]  # posts alike in both change nothing when swapped
    if not len(difference):
        return 1.0
    total_a, total_b = of_a.sum(axis=0), of_b.sum(axis=0)
    observed = abs(_f1(total_a) - _f1(total_b))
    generator = np.random.default_rng(seed)
    rows = max(_CELLS // len(difference), 1)
    extreme = 0
    for start in range(0, samples, rows):
        swapped = generator.random((min(rows, samples - start), len(difference))) < 0.5
        moved = swapped.astype(np.float64) @ difference  # (draws, 2); whole numbers, so exact
        apart = np.abs(_f1(total_a + moved) - _f1(total_b - moved))
        extreme += int((apart >= observed - _TIE).sum())
    return (extreme + 1) / (samples + 1)


def _over_types_and_seeds(counts: Sequence[PostCounts]) -> NDArray[np.float64]:
    """What F1 = 2 correct / (predicted + gold) is made of: correct, and the other two together. *Shape:* (P, 2)."""
    parts = [np.stack([one.correct.sum(1), (one.predicted + one.gold).sum(1)], axis=1) for one in counts]
    return np.sum(parts, axis=0).astype(np.float64)


def _f1(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of rows of (correct, predicted + gold), 0 where nothing was predicted nor gold."""
    return 2 * totals[..., 0] / np.maximum(totals[..., 1], 1)
