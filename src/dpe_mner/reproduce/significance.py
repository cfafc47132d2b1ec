"""Paired significance of a difference in F1, by approximate randomization over posts.

If two systems were equally good, swapping their answers to a post would change nothing. The answers of every post are
swapped with chance one half, many times; p is how often the difference is then at least as large as the one observed
(Noreen 1989; Yeh, COLING 2000). F1 is not a mean over posts, so a t-test would not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpe_mner.reproduce.counts import Counts

TRIALS = 10_000
_TOGETHER = 1_000  # trials in memory at once


def randomization_test(
    one: Sequence[Counts], other: Sequence[Counts], *, rng: np.random.Generator, trials: int = TRIALS
) -> float:
    """Two-sided p of the difference in micro F1 of two systems on the same posts.

    Args:
        one: Counts of the one system; with several seeds, one each.
        other: Counts of the other, seed by seed. Counts are summed over seeds; a post is swapped in all of them.
        rng: Draws the swaps.
        trials: How many times everything is swapped.

    Returns:
        In (0, 1]; the observed difference counts as a trial of its own.
    """
    if len(one) != len(other) or not one:
        raise ValueError("a paired test needs the same seeds of both systems")
    (correct, predicted), (other_correct, other_predicted) = _summed(one), _summed(other)
    gold = sum(int(counts.gold.sum()) for counts in one)
    observed = abs(_f1(correct.sum(), predicted.sum(), gold) - _f1(other_correct.sum(), other_predicted.sum(), gold))
    more, longer = other_correct - correct, other_predicted - predicted
    differing = np.flatnonzero((more != 0) | (longer != 0))
    reached = 0
    for start in range(0, trials, _TOGETHER):
        swaps = rng.random((min(_TOGETHER, trials - start), len(differing))) < 0.5
        moved, moved_predicted = swaps @ more[differing], swaps @ longer[differing]
        difference = _f1(correct.sum() + moved, predicted.sum() + moved_predicted, gold) - _f1(
            other_correct.sum() - moved, other_predicted.sum() - moved_predicted, gold
        )
        reached += int((np.abs(difference) >= observed - 1e-12).sum())
    return (reached + 1) / (trials + 1)


def _summed(systems: Sequence[Counts]) -> tuple[np.ndarray, np.ndarray]:
    """Correct and predicted entities of each post, over types and seeds. *Shapes:* (posts,)."""
    return (
        np.sum([counts.correct.sum(1) for counts in systems], axis=0),
        np.sum([counts.predicted.sum(1) for counts in systems], axis=0),
    )


def _f1(correct: np.ndarray, predicted: np.ndarray, gold: int) -> np.ndarray:
    return 2 * correct / np.maximum(predicted + gold, 1)
