"""The two formats this package reads itself: posts as JSON Lines, and CoNLL."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.data.conll import is_comment, read_conll
from dpe_mner.data.dataset import read_posts
from dpe_mner.data.tags import write_tags
from dpe_mner.formats.base import (
    Format,
    FormatOptions,
    Source,
    as_words,
    flat,
    leave_visual,
    visual_values,
    write_file,
    write_lines,
)
from dpe_mner.formats.predicted import score_of
from dpe_mner.types import LabelledSpan, Post

_SPACE = re.compile(r"[\t\r\n]+")


def _read_posts(source: Source) -> Iterator[Post]:
    return read_posts(source.path, source.problems, columns=source.options.columns)


def post_object(post: Post, left_out: Counter[str]) -> dict[str, Any]:
    """A post as its JSON object."""
    value: dict[str, Any] = {"id": post.id}
    if post.text is not None:
        value["text"] = post.text
    else:
        value["words"] = list(post.words or ())
    value |= visual_values(post, left_out)
    if post.entities is not None:
        value["entities"] = [_entity_object(entity) for entity in post.entities]
    return value


def _entity_object(entity: LabelledSpan) -> dict[str, Any]:
    value: dict[str, Any] = {"start": entity.start, "end": entity.end, "label": entity.label}
    score = score_of(entity)
    return value if score is None else {**value, "score": score}


def _write_posts(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    return write_lines(path, (post_object(post, left_out) for post in posts))


def _read_conll(source: Source) -> Iterator[Post]:
    return read_conll(source.path, source.problems, columns=source.options.columns)


def _write_conll(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    return write_file(path, (_block(post, options, left_out) for post in posts))


def _block(post: Post, options: FormatOptions, left_out: Counter[str]) -> str:
    leave_visual(post, left_out)
    words, spans = as_words(post, left_out)
    tags = None
    if spans is not None:
        labelled = [LabelledSpan(start=a, end=b + 1, label=label) for a, b, label in flat(spans, left_out)]
        tags = write_tags(labelled, len(words))
    lines = [f"IMGID:{_SPACE.sub(' ', post.id)}"]
    for k, word in enumerate(words):
        plain = _SPACE.sub(" ", word)
        alone = tags is None and (plain.upper().startswith("IMGID") or not plain.strip() or " " in plain)
        if (
            plain != word
            or alone
            or plain.startswith("-DOCSTART-")
            or (tags is None and is_comment(plain, options.columns))
        ):
            left_out["words that CoNLL cannot hold as they are"] += 1
            plain = plain.strip().replace(" ", "_").replace("IMGID:", "IMGID_").replace("-DOCSTART-", "DOCSTART") or "_"
        lines.append(plain if tags is None else f"{plain}\t{tags[k]}")
    return "\n".join(lines) + "\n\n"


JSONL = Format("jsonl", "posts of this package, JSON Lines", _read_posts, _write_posts, ours=True, scores=True)
CONLL = Format("conll", "a word and its tag a line", _read_conll, _write_conll, offsets=False, ours=True)
