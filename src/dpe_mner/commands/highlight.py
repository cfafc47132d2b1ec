"""Entities on the terminal: coloured in the text, and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dpe_mner.types import Entity

_COLOURS = ("black on bright_cyan", "black on bright_green", "black on bright_yellow", "black on bright_magenta")
_KNOWN = {"PER": 0, "LOC": 1, "ORG": 2, "MISC": 3, "OTHER": 3}


def style_of(label: str) -> str:
    """A steady colour for a label."""
    return _COLOURS[_KNOWN.get(label, sum(map(ord, label)) % len(_COLOURS))]


def highlighted(text: str, entities: Sequence[Entity]) -> Text:
    """The text with its entities coloured and named; names stay readable without colour."""
    shown, position = Text(), 0
    for entity in entities:
        shown.append(text[position : entity.start])
        shown.append(f"[{entity.text}]", style=style_of(entity.label))
        shown.append(f"{entity.label}", style="bold")
        position = entity.end
    shown.append(text[position:])
    return shown


def entity_table(entities: Sequence[Entity]) -> Table:
    """Text, label, characters and score."""
    table = Table(box=None, pad_edge=False)
    for name in ("entity", "label", "characters", "score"):
        table.add_column(name, justify="right" if name == "score" else "left")
    for e in entities:
        table.add_row(Text(e.text), e.label, f"{e.start}-{e.end}", f"{e.score:.2f}")
    return table
