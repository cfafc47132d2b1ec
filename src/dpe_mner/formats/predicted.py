"""What a model found, as posts: labels that have a score and, where it was explained, the part of the picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from dpe_mner.types import Grounding, LabelledSpan, Post, Prediction


@dataclass(frozen=True, kw_only=True)
class PredictedSpan(LabelledSpan):
    """An entity that a model found.

    Attributes:
        score: In [0, 1].
        grounding: What of the picture it looked at most; None where that was not asked for or is not known.
    """

    score: float
    grounding: Grounding | None = None


@dataclass(frozen=True, kw_only=True)
class PredictedPost(Post):
    """A post whose entities a model found: writers keep them apart from what people said."""


def predicted_post(prediction: Prediction, post: Post | None = None) -> PredictedPost:
    """A prediction as a post with its entities, in words where the post was given as words.

    Args:
        prediction: What was found.
        post: What was predicted on; without it the post has the prediction's text and nothing else.
    """
    found = {g.entity: g for g in prediction.grounding}
    given = post if post is not None else Post(text=prediction.text)
    in_words = given.words is not None
    spans = tuple(
        PredictedSpan(
            start=entity.word_start if in_words else entity.start,
            end=entity.word_end if in_words else entity.end,
            label=entity.label,
            score=entity.score,
            grounding=found.get(number),
        )
        for number, entity in enumerate(prediction.entities)
    )
    return as_predicted(given, id=prediction.id, entities=spans)


def as_predicted(post: Post, **changed: Any) -> PredictedPost:
    """The same post, its entities said to be a model's, with some of its parts changed."""
    return PredictedPost(**{each.name: getattr(post, each.name) for each in fields(Post)} | changed)


def score_of(span: LabelledSpan) -> float | None:
    """The score of an entity that a model found; None for what a person said."""
    return span.score if isinstance(span, PredictedSpan) else None


def with_score(span: LabelledSpan, score: float, grounding: Grounding | None = None) -> PredictedSpan:
    """An entity with its score."""
    return PredictedSpan(start=span.start, end=span.end, label=span.label, score=score, grounding=grounding)


def lowest_score(spans: Iterable[LabelledSpan]) -> float | None:
    """The least certain of the entities, by which tools sort what is to be looked at first; None without any."""
    return min((score for score in map(score_of, spans) if score is not None), default=None)


def read_score(value: object) -> float | None:
    """A number in [0, 1]; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= 1 else None


def without_place(posts: Iterable[Post], left_out: Counter[str], *, scores: bool, grounding: bool) -> Iterator[Post]:
    """Pass posts on, counting the scores and parts of pictures that the format they go to has no place for."""
    for post in posts:
        for span in post.entities or ():
            if isinstance(span, PredictedSpan):
                left_out["scores"] += not scores
                left_out["parts of pictures that entities looked at"] += not grounding and span.grounding is not None
        yield post


def read_grounding(value: object) -> Grounding | None:
    """A grounding from its JSON object; None for what is not one.

    The box must lie in the picture: four shares of its width and height, left before right and top before bottom.
    """
    if not isinstance(value, Mapping) or type(value.get("entity")) is not int:
        return None
    name, source, weight = value.get("name"), value.get("source"), read_score(value.get("weight"))
    if not isinstance(name, str) or not isinstance(source, str) or weight is None:
        return None
    box = value.get("box")
    if box is not None:
        sides = [read_score(side) for side in box] if isinstance(box, list) and len(box) == 4 else []
        if len(sides) != 4 or None in sides or not (sides[0] <= sides[2] and sides[1] <= sides[3]):  # type: ignore[operator]
            return None
        box = tuple(sides)
    rest = {key: value[key] for key in ("lift", "relevance") if isinstance(value.get(key), int | float)}
    return Grounding(entity=value["entity"], source=source, name=name, box=box, weight=weight, **rest)
