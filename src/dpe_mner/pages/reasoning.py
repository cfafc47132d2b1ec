"""One self-contained HTML page that shows how each post's entities came about, step by step: the paper's figure 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpe_mner.data.words import words_of
from dpe_mner.explain.sources import LEAST_INFLUENCE, idle
from dpe_mner.pages.html import Mark, render
from dpe_mner.pages.picture import ShownPicture, shown_picture
from dpe_mner.pages.steps import SOURCE_NAMES, ShownBox, ShownStep, enumerated, shown_boxes, shown_steps
from dpe_mner.types import Entity, Post, Prediction

MOST_POSTS = 200  # on a page; with a picture each they make some ten megabytes
_LONGEST_SIDE = 480  # pixels of a picture on the page


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
        names=SOURCE_NAMES,
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
        steps=shown_steps(words_of(post), prediction),
        boxes=shown_boxes(prediction.entities, prediction.grounding),
        picture=picture,
        unread=picture is not None and not any(prediction.representations.get(key, False) for key in ("y_c", "y_f")),
        credit=credit,
        idle=enumerated(idle(prediction)),
    )


def _mark(entity: Entity, *, note: str) -> Mark:
    return Mark(start=entity.start, end=entity.end, label=entity.label, note=note, rank=entity.score)
