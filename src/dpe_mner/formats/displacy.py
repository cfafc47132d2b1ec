"""displaCy's page: entities marked in the text, to be looked at. Drawn by spaCy, a post at a time."""

from __future__ import annotations

import html
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.errors import InputError
from dpe_mner.formats.base import Format, FormatOptions, as_text, leave_visual, write_file
from dpe_mner.formats.predicted import score_of
from dpe_mner.types import LabelledSpan, Post

_SAME = {"PER": "PERSON", "MISC": "EVENT", "OTHER": "EVENT", "LOCATION": "LOC", "ORGANIZATION": "ORG"}
_HERE = "\x00"  # where the figures go; no template of spaCy's has it


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    try:
        from spacy.displacy import render, templates
        from spacy.displacy.render import DEFAULT_ENTITY_COLOR, DEFAULT_LABEL_COLORS
    except ImportError:
        raise InputError("displaCy's pages need spaCy; run pip install 'dpe-mner[spacy]'") from None
    head, tail = templates.TPL_PAGE.format(content=_HERE, lang="", dir="ltr").split(_HERE)

    def color(label: str) -> str:
        return str(DEFAULT_LABEL_COLORS.get(_SAME.get(label.upper(), label.upper()), DEFAULT_ENTITY_COLOR))

    def figure(post: Post) -> str:
        drawn = render(_drawing(post, color, left_out), style="ent", manual=True, page=False, jupyter=False)
        return str(templates.TPL_FIGURE.format(content=drawn))

    def page() -> Iterator[str]:
        yield head.replace("<title>displaCy</title>", '<meta charset="utf-8">\n        <title>Entities</title>')
        yield from map(figure, posts)
        yield tail

    return write_file(path, page()) - 2


def _drawing(post: Post, color: Callable[[str], str], left_out: Counter[str]) -> dict[str, Any]:
    """What displaCy draws of a post. It escapes the text but neither labels nor titles, so that is done here."""
    leave_visual(post, left_out)
    text, entities = as_text(post, left_out)
    left_out["posts without labels (drawn as posts without entities)"] += entities is None
    marks = []
    for entity in _apart(entities or (), left_out):
        score = score_of(entity)
        shown = entity.label if score is None else f"{entity.label} {score:.2f}"
        params = {"bg": color(entity.label)}
        marks.append({"start": entity.start, "end": entity.end, "label": html.escape(shown), "params": params})
    return {
        "text": text,
        "ents": marks,
        "title": html.escape(post.id) or None,
        "settings": {"direction": _direction(text)},
    }


def _apart(entities: Iterable[LabelledSpan], left_out: Counter[str]) -> list[LabelledSpan]:
    """Of entities that overlap, the first and longest."""
    kept: list[LabelledSpan] = []
    for entity in sorted(entities, key=lambda e: (e.start, -e.end)):
        if kept and entity.start < kept[-1].end:
            left_out["entities that overlap another"] += 1
        else:
            kept.append(entity)
    return kept


def _direction(text: str) -> str:
    """Where a text begins, by its first character that has a direction."""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in {"L", "R", "AL"}:
            return "ltr" if kind == "L" else "rtl"
    return "ltr"


DISPLACY = Format("displacy", "displaCy's HTML page, to be looked at", None, _write, offsets=False, scores=True)
