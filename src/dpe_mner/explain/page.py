"""One self-contained HTML page that shows how each post's entities came about, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, select_autoescape

from dpe_mner.types import Entity, Post, Prediction

_NAMES = {
    "x_t": "words",
    "x_g": "sentence",
    "x_s": "spans",
    "y_c": "picture",
    "y_ct": "caption",
    "y_f": "regions",
    "y_ft": "tags",
}


@dataclass(frozen=True)
class Piece:
    """A stretch of text, inside an entity or not."""

    text: str
    label: str | None = None
    score: float = 0.0


def pieces_of(text: str, entities: Sequence[Entity]) -> list[Piece]:
    """Cut a text at its entities; of overlapping candidates the best stays."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda e: -e.score):
        if all(entity.end <= other.start or entity.start >= other.end for other in kept):
            kept.append(entity)
    pieces, position = [], 0
    for entity in sorted(kept, key=lambda e: e.start):
        pieces.append(Piece(text[position : entity.start]))
        pieces.append(Piece(entity.text, entity.label, entity.score))
        position = entity.end
    return [*pieces, Piece(text[position:])]


def explanation_page(posts: Sequence[Post], predictions: Sequence[Prediction], *, title: str) -> str:
    """HTML of predictions made with ``explain=True``.

    Args:
        posts: For their captions and tags.
        predictions: In the same order.
        title: Heading of the page.
    """
    template = resources.files("dpe_mner").joinpath("assets", "explanation.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True)
    environment.globals["pieces_of"] = pieces_of
    items = list(zip(posts, predictions, strict=True))
    return environment.from_string(template).render(title=title, items=items, names=_NAMES)
