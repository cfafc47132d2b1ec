"""Prodigy's JSONL: ``text`` with ``spans``; only what was accepted is labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.formats.base import (
    Format,
    FormatOptions,
    Source,
    as_text,
    identifier_of,
    visual_of,
    visual_values,
    write_lines,
)
from dpe_mner.formats.offsets import Offsets
from dpe_mner.formats.predicted import PredictedPost, as_predicted, lowest_score, read_score, score_of, with_score
from dpe_mner.types import LabelledSpan, Post


def _read(source: Source) -> Iterator[Post]:
    for number, value in source.objects():
        text, spans = value.get("text"), value.get("spans")
        answer = value.get("answer", "accept")
        if answer != "accept":
            source.left_out[f"examples answered {str(answer)[:20]!r}"] += 1
            continue
        if not isinstance(text, str):
            source.bad(number, "bad-post", "no 'text'; it is skipped")
            continue
        source.left_out["relations"] += len(value["relations"]) if isinstance(value.get("relations"), list) else 0
        meta = value["meta"] if isinstance(value.get("meta"), dict) else {}
        entities = None
        if isinstance(spans, list):
            kept = [span for span in spans if isinstance(span, dict)]
            if len(kept) < len(spans):
                source.bad(number, "bad-entity", f"{len(spans) - len(kept)} spans are no objects; they are left out")
            # Scores stay in a span when a person accepts it: it is a model's only where nobody answered.
            asked = "answer" not in value
            found = [entity for span in kept for entity in _span(span, text, number, source, scored=asked)]
            entities = tuple(dict.fromkeys(found))
        post = Post(
            id=identifier_of({**value, **meta}, number), text=text, entities=entities, line=number, **visual_of(meta)
        )
        yield as_predicted(post) if lowest_score(entities or ()) is not None else post


def _span(span: dict[str, Any], text: str, line: int, source: Source, *, scored: bool) -> Iterator[LabelledSpan]:
    surface = span["text"] if isinstance(span.get("text"), str) else None
    score = read_score(span.get("score")) if scored else None
    for entity in source.entities([(span.get("start"), span.get("end"), span.get("label"), surface)], text, line=line):
        yield entity if score is None else with_score(entity, score)


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    def row(post: Post) -> dict[str, Any]:
        text, entities = as_text(post, left_out)
        place = Offsets(text, options.unit).from_characters
        # What Prodigy has no key for travels in "meta", which it shows and keeps; "image" would be a task of its own.
        value: dict[str, Any] = {"text": text, "meta": {"id": post.id, **visual_values(post, left_out)}}
        if entities is None:
            return value
        value["spans"] = [{"start": place(e.start), "end": place(e.end), "label": e.label} for e in entities]
        if not isinstance(post, PredictedPost):
            value["answer"] = "accept"
            return value
        # Without an answer it is a task still to be looked at; Prodigy shows what is in "meta".
        for span, entity in zip(value["spans"], entities, strict=True):
            span["score"] = score_of(entity)
        lowest = lowest_score(entities)
        if lowest is not None:
            value["meta"]["score"] = lowest
        return value

    return write_lines(path, map(row, posts))


PRODIGY = Format("prodigy", "Prodigy's JSONL", _read, _write, scores=True)
