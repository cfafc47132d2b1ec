"""Two sets of answers to the same posts: what one puts right and the other gets wrong, and whether that is chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dpe_mner.evaluation.score import Labelled, Report, count
from dpe_mner.evaluation.significance import SAMPLES, paired_randomization

Verdict = Literal["fixed", "broken", "better", "worse", "other"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Change:
    """A post whose answer differs.

    Attributes:
        post: Its index.
        verdict: ``fixed``: right here, wrong in the other; ``broken``: the reverse. Where both are wrong, ``better``,
            ``worse`` or ``other`` by the number of wrong and missing entities.
    """

    post: int
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Answers against other answers.

    Attributes:
        other: What the others came from, e.g. ``bundled`` or ``without captions``.
        report: Scores of the others.
        right: Posts without an error, here and in the others.
        changes: In order of posts.
        p_value: Of the difference in F1, see :func:`~dpe_mner.evaluation.significance.paired_randomization`.
        samples: Random draws it is computed from.
    """

    other: str
    report: Report
    right: tuple[int, int]
    changes: list[Change]
    p_value: float
    samples: int

    @property
    def counts(self) -> dict[str, int]:
        """Posts of each verdict, all named."""
        found = Counter(change.verdict for change in self.changes)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the posts not included."""
        return {
            "other": self.other,
            **self.report.as_dict(),
            "posts_right": self.right[0],
            "posts_right_other": self.right[1],
            "changed": len(self.changes),
            **self.counts,
            "p_value": self.p_value,
            "samples": self.samples,
        }


def compare(
    gold: Sequence[Set[Labelled]],
    answers: Sequence[Set[Labelled]],
    others: Sequence[Set[Labelled]],
    *,
    other: str,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare post by post, strictly.

    Args:
        gold: Entities of each post.
        answers: Predicted.
        others: Predicted by what they are held against.
        other: What that is called.
        samples: Random draws of the significance test.
        seed: Of the draws.
    """
    changes, right, others_right = [], 0, 0
    for index, (wanted, ours, theirs) in enumerate(zip(gold, answers, others, strict=True)):
        right += ours == wanted
        others_right += theirs == wanted
        if ours != theirs:
            changes.append(Change(index, verdict_of(wanted, ours, theirs)))
    counted, others_counted = count(gold, answers), count(gold, others)
    p_value = paired_randomization([counted], [others_counted], samples=samples, seed=seed)
    return Comparison(other, others_counted.report(), (right, others_right), changes, p_value, samples)


def verdict_of(gold: Set[Labelled], answer: Set[Labelled], other: Set[Labelled]) -> Verdict:
    """How an answer stands to a different one."""
    wrong, other_wrong = len(answer ^ gold), len(other ^ gold)
    if not wrong:
        return "fixed"
    if not other_wrong:
        return "broken"
    return "better" if wrong < other_wrong else "worse" if wrong > other_wrong else "other"
