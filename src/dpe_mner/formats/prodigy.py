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
from dpe_mner.types import Post


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
            raw = [
                (
                    s.get("start"),
                    s.get("end"),
                    s.get("label"),
                    s.get("text") if isinstance(s.get("text"), str) else None,
                )
                for s in spans
                if isinstance(s, dict)
            ]
            if len(raw) < len(spans):
                source.bad(number, "bad-entity", f"{len(spans) - len(raw)} spans are no objects; they are left out")
            entities = source.entities(raw, text, line=number)
        yield Post(
            id=identifier_of({**value, **meta}, number), text=text, entities=entities, line=number, **visual_of(meta)
        )


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    def row(post: Post) -> dict[str, Any]:
        text, entities = as_text(post, left_out)
        place = Offsets(text, options.unit).from_characters
        # What Prodigy has no key for travels in "meta", which it shows and keeps; "image" would be a task of its own.
        value: dict[str, Any] = {"text": text, "meta": {"id": post.id, **visual_values(post, left_out)}}
        if entities is not None:
            value["spans"] = [{"start": place(e.start), "end": place(e.end), "label": e.label} for e in entities]
            value["answer"] = "accept"
        return value

    return write_lines(path, map(row, posts))


PRODIGY = Format("prodigy", "Prodigy's JSONL", _read, _write)
