"""Hugging Face's token classification data: ``tokens`` and ``ner_tags``, names or numbers of classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.data.json_values import parse_json
from dpe_mner.data.tags import is_tag, read_tags, write_tags
from dpe_mner.errors import InputError
from dpe_mner.formats.base import (
    Format,
    FormatOptions,
    Source,
    as_words,
    flat,
    identifier_of,
    visual_of,
    visual_values,
    write_lines,
)
from dpe_mner.types import LabelledSpan, Post

_TAG_KEYS = ("ner_tags", "ner", "labels", "tags")


def parse_class_names(given: str) -> tuple[str, ...]:
    """Names in the order of their numbers: ``O,B-PER,I-PER``, or a file with one a line, a JSON list, or id2label.

    Raises:
        InputError: If a name is missing or given twice, or the file cannot be read.
    """
    names: list[Any] = given.split(",")
    if os.path.isfile(given):
        try:
            content = Path(given).read_text(encoding="utf-8-sig")
            names = content.split("\n") if content.strip()[:1] not in {"[", "{"} else _listed(parse_json(content))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"--class-names {given}: cannot be read ({' '.join(str(error).split())[:100]})") from None
        names = [name for name in names if not isinstance(name, str) or name.strip()]
    cleaned = tuple(str(name).strip() for name in names)
    if not cleaned or not all(cleaned) or len(set(cleaned)) < len(cleaned):
        raise InputError(f"--class-names {given[:60]}: expected different names in the order of their numbers, O,B-PER")
    return cleaned


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = value.get("id2label", value)
        try:
            return [name for _, name in sorted((int(key), name) for key, name in value.items())]
        except (TypeError, AttributeError):
            raise ValueError("expected {number: name}") from None
    return list(value)


def _read(source: Source) -> Iterator[Post]:
    for number, table in source.objects():
        for value in _rows(table):
            words = value.get("tokens")
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                source.bad(number, "bad-post", "'tokens' must be a list of strings; it is skipped")
                continue
            key = _tag_key(value, len(words))
            entities = None
            if key is not None:
                tags = _tags(value[key], source, number)
                if tags is None or len(tags) != len(words):
                    if tags is not None:
                        message = f"{len(tags)} {key} for {len(words)} tokens; it is skipped"
                        source.bad(number, "bad-post", message)
                    continue
                entities = tuple(read_tags(tags).spans)
            visual = visual_of(value, tags=key != "tags")
            yield Post(id=identifier_of(value, number), words=tuple(words), entities=entities, line=number, **visual)


def _tag_key(value: dict[str, Any], count: int) -> str | None:
    """Where the tags are; a list under "tags" may be the objects in a picture."""
    for key in _TAG_KEYS:
        given = value.get(key)
        if not isinstance(given, list):
            continue
        if key != "tags" or (
            len(given) == count and all(type(t) is int or (isinstance(t, str) and is_tag(t)) for t in given)
        ):
            return key
    return None


def _rows(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row, or the rows of a table that is given column by column."""
    columns = {key: column for key, column in table.items() if isinstance(column, list)}
    tokens = columns.get("tokens")
    if not tokens or not all(isinstance(row, list) for row in tokens):
        yield table
        return
    for k in range(len(tokens)):
        yield {key: column[k] for key, column in columns.items() if k < len(column)}


def _tags(given: list[Any], source: Source, line: int) -> list[str] | None:
    """IOB tags; bare names of types are runs of their own. None, after telling why, when there are none."""
    names = source.options.class_names
    found = []
    for entry in given:
        if type(entry) is int:
            if not names:
                raise InputError(
                    f"{source.path}:{line}: the classes are numbers; name them in their order, "
                    "--class-names O,B-PER,I-PER,... or a file with them"
                )
            if not 0 <= entry < len(names):
                source.bad(line, "bad-post", f"class {entry} of {len(names)} named ones; it is skipped")
                return None
            entry = names[entry]
        if not isinstance(entry, str) or not entry:
            source.bad(line, "bad-post", f"{entry!r} is no tag; it is skipped")
            return None
        found.append(entry if is_tag(entry) else f"I-{entry}")
    return found


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    number = {name: k for k, name in enumerate(options.class_names)}

    def row(post: Post) -> dict[str, Any]:
        words, spans = as_words(post, left_out)
        value: dict[str, Any] = {"id": post.id, "tokens": words}
        if spans is not None:
            kept = [LabelledSpan(start=a, end=b + 1, label=label) for a, b, label in flat(spans, left_out)]
            tags: list[Any] = list(write_tags(kept, len(words)))
            missing = next((tag for tag in tags if number and tag not in number), None)
            if missing is not None:
                raise InputError(f"post {post.id!r}: {missing} is not among --class-names ({', '.join(number)})")
            value["ner_tags"] = [number[tag] for tag in tags] if number else tags
        return value | visual_values(post, left_out)

    return write_lines(path, map(row, posts))


HUGGINGFACE = Format("huggingface", "Hugging Face's tokens and ner_tags", _read, _write, offsets=False)
