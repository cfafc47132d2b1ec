"""doccano's JSONL of sequence labelling: ``label`` or ``labels``, or ``entities`` with ``start_offset``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.formats.base import (
    Format,
    FormatOptions,
    RawSpan,
    Source,
    as_text,
    identifier_of,
    visual_of,
    visual_values,
    write_lines,
)
from dpe_mner.formats.offsets import Offsets
from dpe_mner.types import Post

_KEYS = ("label", "labels", "entities", "annotations")


def _read(source: Source) -> Iterator[Post]:
    for number, value in source.objects():
        text = value.get("text", value.get("data"))
        if not isinstance(text, str):
            source.bad(number, "bad-post", "no 'text'; it is skipped")
            continue
        if value.get("relations"):
            source.left_out["relations"] += len(value["relations"])
        given = [value[key] for key in _KEYS if isinstance(value.get(key), list)]
        raw = [span for items in given for span in _spans(items, number, source)]
        yield Post(
            id=identifier_of(value, number),
            text=text,
            entities=source.entities(raw, text, line=number) if given else None,
            line=number,
            **visual_of(value),
        )


def _spans(items: list[Any], line: int, source: Source) -> Iterator[RawSpan]:
    for item in items:
        if isinstance(item, list) and len(item) >= 3:
            yield item[0], item[1], item[2], None
        elif isinstance(item, dict):
            start = item.get("start_offset", item.get("start"))
            yield start, item.get("end_offset", item.get("end")), item.get("label"), None
        elif isinstance(item, str):
            source.left_out["classes of whole posts"] += 1
        else:
            source.bad(line, "bad-entity", f"{str(item)[:60]} is no [start, end, label]; it is left out")


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    def row(post: Post) -> dict[str, Any]:
        text, entities = as_text(post, left_out)
        place = Offsets(text, options.unit).from_characters
        value: dict[str, Any] = {"id": post.id, "text": text}
        if entities is not None:
            value["label"] = [[place(e.start), place(e.end), e.label] for e in entities]
        return value | visual_values(post, left_out)

    return write_lines(path, map(row, posts))


DOCCANO = Format("doccano", "doccano's JSONL", _read, _write)
