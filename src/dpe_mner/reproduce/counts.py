"""What is right in each post, as counts: all scores and tests follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpe_mner.data.gold import CharacterSpan
from dpe_mner.evaluation.score import Report, Score

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Entities of each post and type.

    Attributes:
        labels: The types.
        correct: Predicted and in gold. *Shape:* (posts, types)
        predicted: *Shape:* (posts, types)
        gold: *Shape:* (posts, types)
    """

    labels: tuple[str, ...]
    correct: Integers
    predicted: Integers
    gold: Integers

    def report(self) -> Report:
        """Strict scores: micro over all types, and of each type."""
        totals = [part.sum(0).tolist() for part in (self.correct, self.predicted, self.gold)]
        return Report(
            overall=Score.from_counts(*(sum(total) for total in totals)),
            per_type={label: Score.from_counts(*(t[c] for t in totals)) for c, label in enumerate(self.labels)},
            posts=len(self.gold),
        )


def count(
    gold: Sequence[Set[CharacterSpan]], predicted: Sequence[Iterable[CharacterSpan]], labels: Sequence[str]
) -> Counts:
    """Count strictly: span and type.

    Args:
        gold: Of each post.
        predicted: Of each post; repeats count once.
        labels: Types; every one that occurs must be among them.
    """
    column = {label: c for c, label in enumerate(labels)}
    correct, found, wanted = (np.zeros((len(gold), len(labels)), dtype=np.int64) for _ in range(3))
    for k, (right, guessed) in enumerate(zip(gold, predicted, strict=True)):
        guesses = set(guessed)
        for table, entities in ((correct, guesses & right), (found, guesses), (wanted, right)):
            for _, _, label in entities:
                table[k, column[label]] += 1
    return Counts(tuple(labels), correct, found, wanted)
