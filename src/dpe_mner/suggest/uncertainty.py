"""How many entities of a post a model is expected to get wrong, from several answers to it.

The answers differ in the noise that reasoning starts from and in the steps it takes. A candidate's probability p is the
mean of its scores over all of them, 0 where it was not found; whichever way it is decided, min(p, 1 - p) is the chance
of an error, as far as scores are probabilities (training calibrates them to be).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dpe_mner.data.entities import without_overlap
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.types import Entity, Post, Prediction

_LEAST = 0.02  # candidates that score less are no question


@dataclass(frozen=True)
class Uncertain:
    """A post with what its answers say together.

    Attributes:
        post: As given.
        prediction: Candidates likelier than not, none overlapping another, scored by their mean over the answers.
        expected_errors: Sum of min(p, 1 - p) over all candidates.
        disagreement: Largest difference between a candidate's scores in two answers.
    """

    post: Post
    prediction: Prediction
    expected_errors: float
    disagreement: float


def variants(model: Predicts, options: PredictionOptions, *, answers: int) -> list[PredictionOptions]:
    """How each of several answers reasons: a seed of its own each, and one step more in every second."""
    steps = options.steps if options.steps is not None else model.usual[0]
    least = replace(options, threshold=_LEAST)
    if model.usual[1] == 0:  # a system of Table 1 takes no steps and draws no noise
        return [least]
    return [replace(least, seed=options.seed + k, steps=steps + k % 2) for k in range(answers)]


def uncertain(
    model: Predicts, posts: Sequence[Post], options: PredictionOptions, *, answers: int = 4
) -> Iterator[Uncertain]:
    """What a model is unsure of in each post, in order.

    Args:
        model: Any model.
        posts: A stretch of posts.
        options: How to predict; its seed is the first answer's.
        answers: How often every post is answered.
    """
    rounds = [list(model.predictions(posts, own)) for own in variants(model, options, answers=answers)]
    for post, *found in zip(posts, *rounds, strict=True):
        yield together(post, found)


def together(post: Post, found: Sequence[Prediction]) -> Uncertain:
    """Several answers to one post as one."""
    scores: dict[tuple[int, int, str], list[float]] = defaultdict(list)
    entities: dict[tuple[int, int, str], Entity] = {}
    for prediction in found:
        for entity in prediction.entities:
            key = (entity.word_start, entity.word_end, entity.label)
            scores[key].append(entity.score)
            entities[key] = entity
    mean = {key: sum(own) / len(found) for key, own in scores.items()}
    lowest = {key: min(own) if len(own) == len(found) else 0.0 for key, own in scores.items()}
    likely = [(first, end - 1, label, p) for (first, end, label), p in mean.items() if p >= 0.5]
    kept = [
        replace(entities[first, last + 1, label], score=round(p, 3))
        for first, last, label, p in without_overlap(likely)
    ]
    return Uncertain(
        post=post,
        prediction=replace(found[0], entities=sorted(kept, key=lambda e: e.start)),
        expected_errors=sum(min(p, 1 - p) for p in mean.values()),
        disagreement=max((max(own) - lowest[key] for key, own in scores.items()), default=0.0),
    )
