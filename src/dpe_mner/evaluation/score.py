"""Strict span-and-type scores: micro precision, recall and F1, and the same for each type, in percent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labelled = tuple[int, int, str]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1 in percent; ``support`` is the number of gold entities."""

    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def from_counts(cls, correct: int, predicted: int, gold: int) -> Score:
        """0 where a ratio has no denominator."""
        precision = 100 * correct / predicted if predicted else 0.0
        recall = 100 * correct / gold if gold else 0.0
        f1 = 200 * correct / (predicted + gold) if predicted + gold else 0.0
        return cls(precision, recall, f1, gold)


@dataclass(frozen=True)
class Report:
    """Micro score over all types and the score of each type."""

    overall: Score
    per_type: dict[str, Score]
    posts: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "precision": self.overall.precision,
            "recall": self.overall.recall,
            "f1": self.overall.f1,
            "per_type": {label: dict(vars(score)) for label, score in self.per_type.items()},
            "posts": self.posts,
            "entities": self.overall.support,
        }


@dataclass(frozen=True)
class PostCounts:
    """Entities of each of P posts and T types, from which scores and tests of significance follow.

    Attributes:
        labels: The types.
        correct: Predicted entities that are right. *Shape:* (P, T)
        predicted: Predicted entities. *Shape:* (P, T)
        gold: Gold entities. *Shape:* (P, T)
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
    gold: Sequence[Set[Labelled]], predicted: Sequence[Iterable[Labelled]], labels: Sequence[str] | None = None
) -> PostCounts:
    """Count each post strictly: span and type.

    Args:
        gold: Entities of each post as (start, end, label).
        predicted: The same, predicted; repeats count once.
        labels: Types to count; when not given those in gold or predictions, by name.

    Raises:
        KeyError: With the first type that is not among ``labels``.
    """
    guesses = [set(post) for post in predicted]
    if labels is None:
        labels = sorted({label for posts in (gold, guesses) for post in posts for _, _, label in post})
    column = {label: c for c, label in enumerate(labels)}
    correct, found, wanted = (np.zeros((len(gold), len(labels)), dtype=np.int64) for _ in range(3))
    for k, (right, guessed) in enumerate(zip(gold, guesses, strict=True)):
        for table, entities in ((correct, guessed & right), (found, guessed), (wanted, right)):
            for _, _, label in entities:
                table[k, column[label]] += 1
    return PostCounts(tuple(labels), correct, found, wanted)


def score(gold: Sequence[Set[Labelled]], predicted: Sequence[Iterable[Labelled]]) -> Report:
    """Strict scores over posts; arguments as for :func:`count`, types in gold or predictions, by name."""
    return count(gold, predicted).report()
