"""spaCy as JSON: training lists ``["text", {"entities": [...]}]``, ``Doc.to_json``, and version 2's paragraphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.data.tags import is_tag, read_tags
from dpe_mner.formats.base import (
    Format,
    FormatOptions,
    RawSpan,
    Source,
    as_text,
    identifier_of,
    leave_visual,
    visual_of,
    write_array,
)
from dpe_mner.formats.offsets import Offsets
from dpe_mner.types import Post


def _read(source: Source) -> Iterator[Post]:
    for number, value in source.values():
        for item in _examples(value):
            if isinstance(item, dict) and isinstance(item.get("paragraphs"), list):
                yield from _paragraphs(item["paragraphs"], source, number)
                continue
            text, about = item if isinstance(item, list) and len(item) == 2 else (None, item)
            if isinstance(item, dict):
                text = item.get("text")
            if not isinstance(text, str) or not isinstance(about, dict):
                source.bad(number, "bad-post", 'expected ["text", {"entities": [[start, end, label]]}]; it is skipped')
                continue
            given = [about[key] for key in ("entities", "ents") if isinstance(about.get(key), list)]
            raw = [span for items in given for span in _spans(items, source, number)]
            yield Post(
                id=identifier_of(about, number),
                text=text,
                entities=source.entities(raw, text, line=number) if given else None,
                line=number,
                **visual_of(about),
            )


def _examples(value: Any) -> list[Any]:
    """The examples in a value: it may hold many, as web annotators for spaCy write them."""
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        return [item for item in value["annotations"] if item is not None]
    return [] if value is None else [value]


def _spans(items: list[Any], source: Source, line: int) -> Iterator[RawSpan]:
    for item in items:
        if isinstance(item, list) and len(item) >= 3:
            yield item[0], item[1], item[2], None
        elif isinstance(item, dict):
            yield item.get("start"), item.get("end"), item.get("label"), None
        else:
            source.bad(line, "bad-entity", f"{str(item)[:60]} is no [start, end, label]; it is left out")


def _paragraphs(paragraphs: list[Any], source: Source, line: int) -> Iterator[Post]:
    for paragraph in paragraphs:
        sentences = paragraph.get("sentences") if isinstance(paragraph, dict) else None
        for sentence in sentences if isinstance(sentences, list) else ():
            tokens = sentence.get("tokens") if isinstance(sentence, dict) else None
            if not isinstance(tokens, list) or not all(
                isinstance(t, dict) and isinstance(t.get("orth"), str) for t in tokens
            ):
                source.bad(line, "bad-post", "a sentence has no 'tokens' with 'orth'; it is skipped")
                continue
            given = [str(token.get("ner") or "-") for token in tokens]
            tags = [tag if is_tag(tag) else "O" for tag in given]  # "-" is spaCy's for unknown
            labelled = any("ner" in token for token in tokens)
            yield Post(
                id=str(line),
                words=tuple(token["orth"] for token in tokens),
                entities=tuple(read_tags(tags).spans) if labelled else None,
                line=line,
            )


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    def row(post: Post) -> list[Any]:
        leave_visual(post, left_out, identifier=bool(post.id))
        text, entities = as_text(post, left_out)
        place = Offsets(text, options.unit).from_characters
        # spaCy refuses keys it does not know: nothing else can travel along.
        return [
            text,
            {} if entities is None else {"entities": [[place(e.start), place(e.end), e.label] for e in entities]},
        ]

    return write_array(path, map(row, posts))


SPACY_JSON = Format("spacy-json", "spaCy's training lists and Doc.to_json", _read, _write)
