"""One self-contained HTML page that shows how each post's entities came about, step by step: the paper's figure 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpe_mner.data.words import Words, words_of
from dpe_mner.explain.influence import LEAST_INFLUENCE
from dpe_mner.explain.sources import SOURCES, SourceWeights, counting, idle, source_weights
from dpe_mner.pages.arcs import Arc, Diagram, arc_diagram
from dpe_mner.pages.html import Mark, render
from dpe_mner.pages.picture import ShownPicture, shown_picture
from dpe_mner.types import Entity, Grounding, Post, Prediction, ReasoningStep

MOST_POSTS = 200  # on a page; with a picture each they make some ten megabytes
_LONGEST_SIDE = 480  # pixels of a picture on the page
_COLUMNS = {"broad": 100, "slim": 37}  # of text in a line, on a screen and on a phone
_SURE = 0.5  # candidates that score less are drawn faint
_NAMES = {
    "x_t": "words",
    "x_g": "sentence",
    "x_s": "spans",
} | {key: name for grain in SOURCES.values() for key, name in grain.items()}


@dataclass(frozen=True)
class ShownStep:
    """A reasoning step as the page draws it.

    Attributes:
        step: As explained.
        diagrams: Its spans as arcs, by the class of screens they fit: ``broad`` and ``slim``, or ``any``.
        weights: Of the sources beside the text.
        spans: It started from.
        read: How many of those it read as an entity.
        told: The diagram in words.
    """

    step: ReasoningStep
    diagrams: Mapping[str, Diagram]
    weights: SourceWeights
    spans: int
    read: int
    told: str


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
    """A post as the page draws it.

    Attributes:
        post: As the model read it.
        prediction: The answer.
        marks: Of its entities.
        steps: How it came about.
        boxes: In the picture.
        picture: Reduced; None without one.
        unread: Whether there is a picture of which the model read no features.
        credit: Whose picture it is.
        idle: Names what was there and did not change the answer.
    """

    post: Post
    prediction: Prediction
    marks: list[Mark]
    steps: list[ShownStep]
    boxes: list[ShownBox]
    picture: ShownPicture | None
    unread: bool
    credit: str
    idle: str


def explanation_page(
    posts: Sequence[Post],
    predictions: Sequence[Prediction],
    *,
    title: str,
    total: int | None = None,
    fetch_urls: bool = False,
    credits: Mapping[str, str] | None = None,
) -> str:
    """HTML of predictions made with ``explain=True``; nothing in it points outside the page.

    Args:
        posts: For their pictures, captions and tags.
        predictions: In the same order.
        title: Heading of the page.
        total: Posts there were, when the page shows the first ones only.
        fetch_urls: Download pictures given as URLs.
        credits: Whose picture it is, by the id of the post.
    """
    credits = credits or {}
    shown = [
        _shown(post, prediction, fetch_urls, credits.get(post.id, ""))
        for post, prediction in zip(posts, predictions, strict=True)
    ]
    return render(
        "reasoning.html.jinja",
        title=title,
        posts=shown,
        names=_NAMES,
        total=total or len(shown),
        least=LEAST_INFLUENCE,
    )


def _shown(post: Post, prediction: Prediction, fetch_urls: bool, credit: str) -> ShownPost:
    picture = None
    if post.image is not None:
        picture = shown_picture(post.image, longest_side=_LONGEST_SIDE, fetch_urls=fetch_urls)
    return ShownPost(
        post=post,
        prediction=prediction,
        marks=[_mark(entity, note=str(number)) for number, entity in enumerate(prediction.entities, start=1)],
        steps=_steps(words_of(post), prediction),
        boxes=_boxes(prediction.entities, prediction.grounding),
        picture=picture,
        unread=picture is not None and not any(prediction.representations.get(key, False) for key in ("y_c", "y_f")),
        credit=credit,
        idle=_enumerated(idle(prediction)),
    )


def _enumerated(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _steps(words: Words, prediction: Prediction) -> list[ShownStep]:
    """Steps with their spans; a candidate that the step before did not have is marked as new."""
    steps: list[ShownStep] = []
    before: set[tuple[int, int, str]] | None = None
    counts = counting(prediction)
    for step in prediction.steps:
        now = {(entity.start, entity.end, entity.label) for entity in step.candidates}
        found = []
        for entity in step.candidates:
            new = before is not None and (entity.start, entity.end, entity.label) not in before
            found.append(_arc(entity, new=new))
        starts = [
            Arc(first=start.word_start, last=start.word_end - 1, label=start.label, count=start.count)
            for start in step.starts
        ]
        diagrams = {name: arc_diagram(words, found, starts, columns=wide) for name, wide in _COLUMNS.items()}
        if diagrams["broad"] == diagrams["slim"]:
            diagrams = {"any": diagrams["broad"]}
        steps.append(
            ShownStep(
                step=step,
                diagrams=diagrams,
                weights=source_weights(step, counts),
                spans=sum(start.count for start in step.starts),
                read=sum(start.count for start in step.starts if start.label),
                told=_enumerated([f"{entity.text} {entity.label} {entity.score:.2f}" for entity in step.candidates]),
            )
        )
        before = now
    return steps


def _arc(entity: Entity, *, new: bool) -> Arc:
    return Arc(
        first=entity.word_start,
        last=entity.word_end - 1,
        label=entity.label,
        note=f"{entity.score:.2f}" + " new" * new,
        style=" ".join(["faint"] * (entity.score < _SURE) + ["new"] * new),
        rank=entity.score,
    )


def _mark(entity: Entity, *, note: str) -> Mark:
    return Mark(start=entity.start, end=entity.end, label=entity.label, note=note, rank=entity.score)


def _boxes(entities: Sequence[Entity], groundings: Sequence[Grounding]) -> list[ShownBox]:
    """Boxes in the picture; entities that looked at the same place share one."""
    found: dict[tuple[float, float, float, float], ShownBox] = {}
    for grounding in groundings:
        if grounding.box is not None:
            box = found.setdefault(grounding.box, ShownBox(grounding.box, [], entities[grounding.entity].label))
            box.numbers.append(grounding.entity + 1)
    return list(found.values())
