"""Strict span-and-type scores: micro precision, recall and F1, and the same for each type, in percent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

Labelled = tuple[int, int, str]


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


def score(gold: Sequence[Set[Labelled]], predicted: Sequence[Iterable[Labelled]]) -> Report:
    """Strict scores over posts.

    Args:
        gold: Entities of each post as (start, end, label).
        predicted: The same, predicted; repeats count once.

    Returns:
        The report; types in gold or predictions, by name.
    """
    correct: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for gold_post, predicted_post in zip(gold, predicted, strict=True):
        guesses = set(predicted_post)
        correct.update(label for _, _, label in guesses & set(gold_post))
        found.update(label for _, _, label in guesses)
        wanted.update(label for _, _, label in gold_post)
    labels = sorted(set(found) | set(wanted))
    return Report(
        overall=Score.from_counts(correct.total(), found.total(), wanted.total()),
        per_type={label: Score.from_counts(correct[label], found[label], wanted[label]) for label in labels},
        posts=len(gold),
    )
