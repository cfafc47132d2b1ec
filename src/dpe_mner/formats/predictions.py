"""What ``dpe-mner predict`` writes, brought to posts with what was found in them.

A line of predictions has no text unless it was explained, so the posts are read beside it: both files in step, for
predictions come in the order of the posts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.data.dataset import read_posts
from dpe_mner.data.entities import make_entity
from dpe_mner.data.gold import read_gold
from dpe_mner.data.jsonl import json_line
from dpe_mner.data.words import Words, words_of
from dpe_mner.errors import InputError
from dpe_mner.formats.base import Format, FormatOptions, Source, identifier_of, write_file
from dpe_mner.formats.predicted import (
    PredictedSpan,
    as_predicted,
    read_grounding,
    read_score,
    score_of,
    with_score,
)
from dpe_mner.types import LabelledSpan, Post


def _read(source: Source) -> Iterator[Post]:
    beside = _Posts(source)
    for number, value in source.objects():
        identifier = identifier_of(value, number)
        found = value.get("entities")
        if not isinstance(found, list):
            source.bad(number, "bad-post", "no 'entities'; it is skipped")
            continue
        post = beside.find(identifier)
        if post is None and isinstance(value.get("text"), str):
            post = Post(id=identifier, text=value["text"])
        if post is None:
            _refuse_without_text(source, identifier, number)
            continue
        yield _with_entities(post, value, number, source)


def _refuse_without_text(source: Source, identifier: str, line: int) -> None:
    """A post that is not there is one line's problem; no posts at all is everybody's."""
    if source.options.posts is None:
        raise InputError(
            f"{source.path}:{line}: predictions have no text; give the posts they were made on, --posts posts.jsonl"
        )
    source.bad(line, "bad-post", f"no post {identifier!r} in {source.options.posts}; its prediction is skipped")


class _Posts:
    """The posts beside the predictions, found by id; those passed over wait for a later line.

    Args:
        source: Its options name the file; its problems take what is wrong there.
    """

    def __init__(self, source: Source) -> None:
        path = source.options.posts
        self._rest = iter(()) if path is None else read_posts(path, source.problems, columns=source.options.columns)
        self._passed: dict[str, list[Post]] = {}

    def find(self, identifier: str) -> Post | None:
        """The next post of that id; None when there is none."""
        waiting = self._passed.get(identifier)
        if waiting:
            return waiting.pop(0)
        for post in self._rest:
            if post.id == identifier:
                return post
            self._passed.setdefault(post.id, []).append(post)
        return None


def _with_entities(post: Post, value: dict[str, Any], line: int, source: Source) -> Post:
    words = words_of(post)
    grounding = _grounding(value, line, source)
    spans: list[LabelledSpan] = []
    for number, entry in enumerate(value["entities"]):
        entity = entry if isinstance(entry, dict) else {}
        surface = entity["text"] if isinstance(entity.get("text"), str) else None
        raw = (entity.get("start"), entity.get("end"), entity.get("label"), surface)
        score = read_score(entity.get("score"))
        if score is None:
            source.bad(line, "bad-entity", f"entity {raw[0]}-{raw[1]}: 'score' is not in [0, 1]; it is left out")
            continue
        for span in source.entities([raw], words.text, line=line):
            placed = span if post.text is not None else _in_words(span, entity, words)
            if placed is None:
                place = f"{entity.get('word_start')}-{entity.get('word_end')}"
                source.bad(line, "bad-entity", f"entity {span.start}-{span.end}: words {place} are others; left out")
            else:
                spans.append(with_score(placed, score, grounding.get(number)))
    return as_predicted(post, entities=tuple(spans), line=line)


def _grounding(value: dict[str, Any], line: int, source: Source) -> dict[int, Any]:
    given = value.get("grounding")
    found = [read_grounding(entry) for entry in given] if isinstance(given, list) else []
    for entry in found:
        if entry is None:
            source.bad(line, "bad-entity", "a 'grounding' has no box in the picture, name or weight; it is left out")
    return {entry.entity: entry for entry in found if entry is not None}


def _in_words(span: LabelledSpan, entity: dict[str, Any], words: Words) -> LabelledSpan | None:
    """The same entity counted in words; None where the words say another place than the characters."""
    start, end = entity.get("word_start"), entity.get("word_end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(words):
        return None
    if (words.starts[start], words.ends[end - 1]) != (span.start, span.end):
        return None
    return LabelledSpan(start=start, end=end, label=span.label)


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    return write_file(path, (json_line(_row(post, left_out)) for post in posts))


def _row(post: Post, left_out: Counter[str]) -> dict[str, Any]:
    words = words_of(post)
    for name, held in (("pictures", post.image), ("captions", post.caption), ("lists of objects (tags)", post.tags)):
        left_out[name] += held is not None
    found: list[dict[str, Any]] = []
    grounding: list[dict[str, Any]] = []
    for span in post.entities or ():
        score = score_of(span)
        if score is None:
            raise InputError(
                f"post {post.id!r}: {span.label} {span.start}-{span.end} has no score, so no model found it; "
                "write labels of people with --to jsonl"
            )
        places = read_gold(as_predicted(post, entities=(span,)), words).words
        if not places:
            left_out["entities without a word"] += 1
            continue
        if isinstance(span, PredictedSpan) and span.grounding is not None:
            grounding.append({**span.grounding.as_dict(), "entity": len(found)})
        found.append(make_entity(words, *places[0], score).as_dict())
    left_out["posts without labels (written as posts without entities)"] += post.entities is None
    row = {"id": post.id, "text": words.text, "entities": found, "warnings": []}
    return row | ({"grounding": grounding} if grounding else {})


PREDICTIONS = Format(
    "predictions",
    "what predict writes, JSON Lines",
    _read,
    _write,
    offsets=False,
    ours=True,
    scores=True,
    grounding=True,
)
