"""GLiNER's training data: ``tokenized_text`` and ``ner`` with inclusive word spans, a JSON array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.formats.base import (
    Format,
    FormatOptions,
    Source,
    as_words,
    identifier_of,
    visual_of,
    visual_values,
    write_array,
)
from dpe_mner.types import LabelledSpan, Post


def _read(source: Source) -> Iterator[Post]:
    for number, value in source.objects():
        words, given = value.get("tokenized_text"), value.get("ner")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            source.bad(number, "bad-post", "'tokenized_text' must be a list of strings; it is skipped")
            continue
        entities = None
        if isinstance(given, list):
            found: dict[LabelledSpan, None] = {}
            for item in given:
                span = _span(item, len(words))
                if span is None:
                    source.bad(number, "bad-entity", f"{str(item)[:60]} is no [first, last, label]; it is left out")
                else:
                    found[span] = None
            entities = tuple(found)
        yield Post(
            id=identifier_of(value, number), words=tuple(words), entities=entities, line=number, **visual_of(value)
        )


def _span(item: Any, count: int) -> LabelledSpan | None:
    if not isinstance(item, list) or len(item) < 3 or not isinstance(item[2], str) or not item[2]:
        return None
    first, last = item[0], item[1]
    if type(first) is not int or type(last) is not int or not 0 <= first <= last < count:
        return None
    return LabelledSpan(start=first, end=last + 1, label=item[2])


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    def row(post: Post) -> dict[str, Any]:
        words, spans = as_words(post, left_out)
        value: dict[str, Any] = {"id": post.id, "tokenized_text": words}
        if spans is not None:
            value["ner"] = [list(span) for span in spans]
        return value | visual_values(post, left_out)

    return write_array(path, map(row, posts))


GLINER = Format("gliner", "GLiNER's training data", _read, _write, offsets=False)
