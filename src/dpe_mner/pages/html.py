"""Self-contained pages: templates with everything escaped, and texts cut at what is marked in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_KNOWN = {"PER": 0, "LOC": 1, "ORG": 2, "MISC": 3, "OTHER": 3}
_COLOURS = 8  # the style sheet's; types of other data sets share the second half


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A marked stretch of a text.

    Attributes:
        start: First character.
        end: Character after the last.
        label: Entity type, written after the text and shown as a colour.
        note: More to write after it.
        style: Classes of the style sheet; never a user's words.
        rank: Of overlapping marks the greatest is drawn.
    """

    start: int
    end: int
    label: str
    note: str = ""
    style: str = ""
    rank: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A stretch of text, marked or not."""

    text: str
    mark: Mark | None = None


def pieces_of(text: str, marks: Sequence[Mark]) -> list[Piece]:
    """Cut a text at its marks; of overlapping ones the greatest rank stays, then the first.

    Returns:
        Pieces whose texts joined are the text.
    """
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda m: (-m.rank, m.start, m.end)):
        if all(mark.end <= other.start or mark.start >= other.end for other in kept):
            kept.append(mark)
    pieces, position = [], 0
    for mark in sorted(kept, key=lambda m: m.start):
        pieces += [Piece(text[position : mark.start]), Piece(text[mark.start : mark.end], mark)]
        position = mark.end
    return [piece for piece in (*pieces, Piece(text[position:])) if piece.text]


def colour_of(label: str) -> int:
    """A steady colour for an entity type: an index into the style sheet's palette."""
    half = _COLOURS // 2
    return _KNOWN.get(label, half + sum(map(ord, label)) % half)


def render(template: str, **values: Any) -> str:
    """Fill a template of ``templates/``; every value is escaped, for posts, captions and file names come from anywhere.

    Args:
        template: Its file name.
        values: What it shows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # of the extra torch; the rest needs nothing

    environment = Environment(
        loader=PackageLoader("dpe_mner", "pages/templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["pieces_of"] = pieces_of
    environment.filters["colour"] = colour_of
    return environment.get_template(template).render(**values)
