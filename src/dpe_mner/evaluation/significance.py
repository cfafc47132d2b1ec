"""Whether two models differ by more than chance on the same posts: paired approximate randomization.

The test of Noreen (1989), as Yeh (2000), "More accurate tests for the statistical significance of result
differences", uses it for F1: under the null hypothesis it does not matter which model gave which answer, so the
answers of every post are swapped or not at random, and p is the share of such draws in which F1 differs at least as
much as it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpe_mner.evaluation.score import Labelled

_CELLS = 4_000_000  # of the matrix of swaps held at once
_TIE = 1e-12  # draws as far apart as observed may differ by rounding


@dataclass(frozen=True)
class PostCounts:
    """Counts of each of P posts.

    Attributes:
        true_positives: Predicted entities that are right. *Shape:* (P,)
        predicted: Predicted entities. *Shape:* (P,)
        gold: Gold entities. *Shape:* (P,)
    """

    true_positives: NDArray[np.int64]
    predicted: NDArray[np.int64]
    gold: NDArray[np.int64]

    @classmethod
    def of(cls, gold: Sequence[Set[Labelled]], predicted: Sequence[Iterable[Labelled]]) -> PostCounts:
        """Count each post, strictly; repeats count once."""
        guesses = [set(post) for post in predicted]
        return cls(
            np.array([len(g & p) for g, p in zip(gold, guesses, strict=True)], dtype=np.int64),
            np.array([len(p) for p in guesses], dtype=np.int64),
            np.array([len(g) for g in gold], dtype=np.int64),
        )


def paired_randomization(a: PostCounts, b: PostCounts, *, samples: int = 10000, seed: int = 0) -> float:
    """Two-sided p-value of the difference in micro F1; the same whichever comes first.

    Args:
        a: Of one model.
        b: Of the other, on the same posts in the same order.
        samples: Random draws; p is never below 1 / (samples + 1).
        seed: Of the draws.

    Returns:
        p in (0, 1]; 1 when no post differs.

    Raises:
        ValueError: If the posts are not the same, or ``samples`` is not positive.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not np.array_equal(a.gold, b.gold):
        raise ValueError("both models must be counted on the same posts, in the same order")
    # Columns: true positives, predicted and gold together. F1 is 2 tp / (predicted + gold).
    of_a = np.stack([a.true_positives, a.predicted + a.gold], axis=1).astype(np.float64)
    of_b = np.stack([b.true_positives, b.predicted + b.gold], axis=1).astype(np.float64)
    difference = (of_b - of_a)[(of_a != of_b).any(axis=1)]  # posts alike in both change nothing when swapped
    if not len(difference):
        return 1.0
    total_a, total_b = of_a.sum(axis=0), of_b.sum(axis=0)
    observed = abs(_f1(total_a) - _f1(total_b))
    generator = np.random.default_rng(seed)
    rows = max(_CELLS // len(difference), 1)
    extreme = 0
    for start in range(0, samples, rows):
        draws = min(rows, samples - start)
        swapped = generator.integers(0, 2, size=(draws, len(difference)), dtype=np.int8)
        moved = swapped.astype(np.float64) @ difference  # (draws, 2); whole numbers, so exact
        apart = np.abs(_f1(total_a + moved) - _f1(total_b - moved))
        extreme += int((apart >= observed - _TIE).sum())
    return (extreme + 1) / (samples + 1)


def _f1(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of rows of (true positives, predicted + gold), 0 where nothing was predicted nor gold."""
    true_positives, both = totals[..., 0], totals[..., 1]
    return 2 * true_positives / np.maximum(both, 1)
