"""Answers to labelled posts, judged: what the page of errors and its JSON show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dpe_mner.data.words import words_of
from dpe_mner.evaluation.answers import Answers
from dpe_mner.evaluation.compare import Comparison, Verdict, compare
from dpe_mner.evaluation.errors import KINDS, Counts, ErrorCounts, Outcome, count_errors, known_entities, outcomes_of
from dpe_mner.evaluation.score import Labelled, Report
from dpe_mner.evaluation.significance import SAMPLES
from dpe_mner.types import Entity, Post, Prediction


@dataclass(frozen=True)
class JudgedPost:
    """A post and what became of its entities.

    Attributes:
        post: As the model read it.
        prediction: The answer.
        outcomes: Of every entity.
        verdict: How the answer stands to the other one; None when they are the same or there is no other.
        other: The other answer, if there is one.
    """

    post: Post
    prediction: Prediction
    outcomes: list[Outcome]
    verdict: Verdict | None = None
    other: Prediction | None = None

    @property
    def errors(self) -> list[Outcome]:
        """All outcomes but the correct ones."""
        return [outcome for outcome in self.outcomes if outcome.kind != "correct"]


@dataclass(frozen=True)
class ErrorAnalysis:
    """All posts judged and counted.

    Attributes:
        data: The file.
        model: Its name.
        report: Strict scores.
        posts: In file order.
        counts: Of all outcomes.
        train_data: What "seen" refers to; None when not given.
        comparison: Against another model or other posts; None when not asked for.
    """

    data: str
    model: str
    report: Report
    posts: list[JudgedPost]
    counts: ErrorCounts
    train_data: str | None = None
    comparison: Comparison | None = None

    @property
    def listed(self) -> list[JudgedPost]:
        """Posts with an error or a changed answer: most errors first, then fewest right, then as in the file."""
        shown = [post for post in self.posts if post.errors or post.verdict is not None]
        return sorted(shown, key=lambda post: (-len(post.errors), len(post.outcomes)))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the counts, and every listed post."""
        return {
            "data": self.data,
            "model": self.model,
            **self.report.as_dict(),
            **counts_as_dict(self.counts),
            "train_data": self.train_data,
            "against": None if self.comparison is None else self.comparison.as_dict(),
            "listed": [_post_as_dict(post) for post in self.listed],
        }


def analyse(
    answers: Answers,
    *,
    data: str,
    model: str,
    train: Iterable[Post] | None = None,
    train_data: str | None = None,
    others: Answers | None = None,
    other: str = "",
    samples: int = SAMPLES,
) -> ErrorAnalysis:
    """Judge every post.

    Args:
        answers: Of the model.
        data: Name of the file.
        model: Name of the model.
        train: Labelled posts that say which entities were seen.
        train_data: Name of their file.
        others: Answers to hold them against, to the same posts.
        other: What those came from.
        samples: Random draws of the significance test.
    """
    known = None if train is None else known_entities(train)
    comparison, verdicts = None, dict[int, Verdict]()
    if others is not None:
        comparison = compare(answers.gold, answers.spans, others.spans, other=other, samples=samples)
        verdicts = {change.post: change.verdict for change in comparison.changes}
    judged = [
        JudgedPost(
            post,
            prediction,
            outcomes_of(words_of(post), gold, spans, known=known),
            verdicts.get(k),
            None if others is None else others.predictions[k],
        )
        for k, (post, prediction, gold, spans) in enumerate(
            zip(answers.posts, answers.predictions, answers.gold, answers.spans, strict=True)
        )
    ]
    counts = count_errors([post.outcomes for post in judged])
    return ErrorAnalysis(data, model, answers.report, judged, counts, train_data, comparison)


def counts_as_dict(counts: ErrorCounts) -> dict[str, Any]:
    """For JSON; in ``confusion`` null stands for nothing."""
    return {
        "errors": _kinds(counts.total),
        "errors_by_type": _split(counts.by_type),
        "errors_by_length": _split(counts.by_length),
        "errors_by_seen": None if counts.by_seen is None else _split(counts.by_seen),
        "confusion": [
            {"gold": gold, "predicted": predicted, "count": count}
            for (gold, predicted), count in sorted(counts.confusion.items(), key=lambda row: (-row[1], str(row[0])))
        ],
    }


def control_as_dict(own: Report, control: Comparison) -> dict[str, Any]:
    """For JSON: the scores under a control, and how far the own ones are from them.

    Args:
        own: Scores without the control.
        control: Of the own answers with those under it.
    """
    return {
        **control.report.as_dict(),
        "control": control.other,
        "difference": own.overall.f1 - control.report.overall.f1,
        "changed": len(control.changes),
        "p_value": control.p_value,
        "samples": control.samples,
    }


def _kinds(counts: Counts) -> dict[str, int]:
    return {kind: counts[kind] for kind in KINDS}


def _split(split: Mapping[str, Counts]) -> dict[str, dict[str, int]]:
    return {name: _kinds(counts) for name, counts in split.items()}


def _post_as_dict(judged: JudgedPost) -> dict[str, Any]:
    post, text = judged.post, judged.prediction.text
    scores = {(e.start, e.end, e.label): e.score for e in judged.prediction.entities}
    return {
        "id": post.id,
        "line": post.line,
        "text": text,
        "caption": post.caption,
        "tags": None if post.tags is None else list(post.tags),
        "image": os.fspath(post.image) if isinstance(post.image, str | os.PathLike) else None,
        "outcomes": [
            {
                "kind": outcome.kind,
                "gold": _span(outcome.gold, text),
                "predicted": _span(outcome.predicted, text, scores),
                "length": outcome.length,
                "seen": outcome.seen,
            }
            for outcome in judged.outcomes
        ],
        "verdict": judged.verdict,
        "other": None if judged.other is None else [_entity(entity) for entity in judged.other.entities],
    }


def _span(span: Labelled | None, text: str, scores: Mapping[Labelled, float] | None = None) -> dict[str, Any] | None:
    if span is None:
        return None
    start, end, label = span
    shown: dict[str, Any] = {"start": start, "end": end, "label": label, "text": text[start:end]}
    return shown if scores is None else shown | {"score": scores[span]}


def _entity(entity: Entity) -> dict[str, Any]:
    return {"start": entity.start, "end": entity.end, "label": entity.label, "text": entity.text, "score": entity.score}
