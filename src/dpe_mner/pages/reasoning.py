"""One self-contained HTML page that shows how each post's entities came about, step by step: the paper's figure 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpe_mner.explain.influence import LEAST_INFLUENCE
from dpe_mner.explain.sources import SOURCES, SourceWeights, counting, idle, source_weights
from dpe_mner.pages.html import Mark, render
from dpe_mner.pages.picture import ShownPicture, shown_picture
from dpe_mner.types import Entity, Grounding, Post, Prediction, ReasoningStep

MOST_POSTS = 200  # on a page; with a picture each they make some ten megabytes
_LONGEST_SIDE = 480  # pixels of a picture on the page
_SURE = 0.5  # candidates that score less are drawn faint
_NAMES = {
    "x_t": "words",
    "x_g": "sentence",
    "x_s": "spans",
} | {key: name for grain in SOURCES.values() for key, name in grain.items()}


@dataclass(frozen=True)
class ShownStep:
    """A reasoning step as the page draws it."""

    number: int
    time: int
    marks: list[Mark]
    weights: SourceWeights
    planned: ReasoningStep
    relevance: Mapping[str, float]


@dataclass(frozen=True)
class ShownBox:
    """A place in the picture and the entities that looked there.

    Attributes:
        box: Left, top, right, bottom as shares of width and height.
        numbers: Of the entities, from 1.
        label: Type of the first of them, for the colour.
    """

    box: tuple[float, float, float, float]
    numbers: list[int]
    label: str


@dataclass(frozen=True)
class ShownPost:
    """A post as the page draws it; ``idle`` names what was there and did not change the answer."""

    post: Post
    prediction: Prediction
    marks: list[Mark]
    steps: list[ShownStep]
    boxes: list[ShownBox]
    picture: ShownPicture | None
    idle: str


def explanation_page(
    posts: Sequence[Post],
    predictions: Sequence[Prediction],
    *,
    title: str,
    total: int | None = None,
    fetch_urls: bool = False,
) -> str:
    """HTML of predictions made with ``explain=True``; nothing in it points outside the page.

    Args:
        posts: For their pictures, captions and tags.
        predictions: In the same order.
        title: Heading of the page.
        total: Posts there were, when the page shows the first ones only.
        fetch_urls: Download pictures given as URLs.
    """
    shown = [_shown(post, prediction, fetch_urls) for post, prediction in zip(posts, predictions, strict=True)]
    return render(
        "reasoning.html.jinja",
        title=title,
        posts=shown,
        names=_NAMES,
        total=total or len(shown),
        least=LEAST_INFLUENCE,
    )


def _shown(post: Post, prediction: Prediction, fetch_urls: bool) -> ShownPost:
    picture = None
    if post.image is not None:
        picture = shown_picture(post.image, longest_side=_LONGEST_SIDE, fetch_urls=fetch_urls)
    return ShownPost(
        post=post,
        prediction=prediction,
        marks=[_mark(entity, note=str(number)) for number, entity in enumerate(prediction.entities, start=1)],
        steps=_steps(prediction),
        boxes=_boxes(prediction.entities, prediction.grounding),
        picture=picture,
        idle=_enumerated(idle(prediction)),
    )


def _enumerated(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _steps(prediction: Prediction) -> list[ShownStep]:
    """Steps with their candidates; one that the step before did not have is marked as new."""
    steps: list[ShownStep] = []
    before: set[tuple[int, int, str]] | None = None
    counts = counting(prediction)
    for step in prediction.steps:
        now = {(entity.start, entity.end, entity.label) for entity in step.candidates}
        marks = []
        for entity in step.candidates:
            new = before is not None and (entity.start, entity.end, entity.label) not in before
            style = " ".join(["faint"] * (entity.score < _SURE) + ["new"] * new)
            marks.append(_mark(entity, note=f"{entity.score:.2f}", style=style))
        weights = source_weights(step, counts)
        steps.append(ShownStep(step.step, step.time, marks, weights, step, step.span_relevance))
        before = now
    return steps


def _mark(entity: Entity, *, note: str, style: str = "") -> Mark:
    return Mark(start=entity.start, end=entity.end, label=entity.label, note=note, style=style, rank=entity.score)


def _boxes(entities: Sequence[Entity], groundings: Sequence[Grounding]) -> list[ShownBox]:
    """Boxes in the picture; entities that looked at the same place share one."""
    found: dict[tuple[float, float, float, float], ShownBox] = {}
    for grounding in groundings:
        if grounding.box is not None:
            box = found.setdefault(grounding.box, ShownBox(grounding.box, [], entities[grounding.entity].label))
            box.numbers.append(grounding.entity + 1)
    return list(found.values())
