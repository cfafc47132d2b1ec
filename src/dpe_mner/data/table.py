"""Posts in a table of Hugging Face's datasets library: a row is a post, with the keys that posts have as JSON.

The library is not imported: its tables are known by their columns and features, and any object with those will do.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpe_mner.data.dataset import Dataset, complete, read_visual_join
from dpe_mner.data.jsonl import post_from_object
from dpe_mner.data.labels import LabelRules
from dpe_mner.data.source import Problem
from dpe_mner.data.tags import read_tags
from dpe_mner.errors import InputError
from dpe_mner.types import ImageLike, Post

_KEYS = ("text", "words", "id", "caption", "tags", "convention", "entities")


def posts_of_table(table: Iterable[Any]) -> Iterator[Post]:
    """The rows as posts: ``text``, or ``words`` or ``tokens``; ``image``, ``caption``, ``tags``, ``id``.

    Labels are ``entities``, as in posts as JSON, or ``ner_tags`` of tokens: names of tags, or their numbers where the
    table's features name them.

    Args:
        table: Of the datasets library.

    Raises:
        InputError: If a row is no post, naming the row.
    """
    names = _class_names(table)
    for number, row in enumerate(table):
        try:
            yield post_of_row(row, number, names)
        except ValueError as error:
            raise InputError(f"row {number} of the {type(table).__name__}: {error}") from None


def post_of_row(row: Any, number: int, names: Sequence[str] = ()) -> Post:
    """One row as a post.

    Args:
        row: A mapping, with the keys that :func:`posts_of_table` knows.
        number: Of the row, which is its id where it has none.
        names: Of the numbers in ``ner_tags``.

    Raises:
        ValueError: If it is no post, saying why.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"is {type(row).__name__}, not a row with 'text', or 'words' or 'tokens'")
    value = {key: _plain(row[key]) for key in _KEYS if row.get(key) is not None}
    words, tags = _plain(row.get("tokens")), _plain(row.get("ner_tags"))
    if words is not None and "words" not in value and ("text" not in value or tags is not None):
        value.pop("text", None)  # labels of tokens count in tokens
        value["words"] = words
    if "text" not in value and "words" not in value:
        raise ValueError(f"has neither 'text' nor 'words' nor 'tokens', but {', '.join(map(str, row))}")
    post = replace(post_from_object(value, default_id=str(number)), image=_image(row.get("image")), line=number)
    if tags is None or post.words is None or post.entities is not None:
        return post
    if len(tags) != len(post.words):
        raise ValueError(f"{len(tags)} ner_tags for {len(post.words)} tokens")
    return replace(post, entities=tuple(read_tags([_tag(tag, names) for tag in tags]).spans))


def _plain(value: Any) -> Any:
    """Lists of arrays, and a list of objects of an object of lists, as some versions of the library keep it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping) and value and all(isinstance(column, list) for column in value.values()):
        return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    return value


def _image(value: Any) -> ImageLike | None:
    """A picture the library decoded, or its bytes or path where it did not."""
    if isinstance(value, Mapping):
        return value.get("bytes") or value.get("path") or None
    return value


def _class_names(table: Any) -> list[str]:
    """The names of the numbers in ``ner_tags``; none where the features do not say."""
    feature = (table.features or {}).get("ner_tags")
    inner = getattr(feature, "feature", feature)
    return list(getattr(inner, "names", None) or ())


def _tag(tag: object, names: Sequence[str]) -> str:
    if isinstance(tag, str):
        return tag
    if type(tag) is int and 0 <= tag < len(names):
        return names[tag]
    raise ValueError(f"ner_tags has {tag!r}, which the table's features do not name; cast it to a ClassLabel")


def dataset_of_table(
    table: Any, *, visual_text: str | os.PathLike[str] | None, images: str | os.PathLike[str] | None, labels: LabelRules
) -> Dataset:
    """The table as a data set, as :func:`~dpe_mner.data.dataset.load_dataset` gives of a file.

    Args:
        table: Of the datasets library.
        visual_text: Captions and tags by image id; a post's own win.
        images: Folder that image paths are relative to.
        labels: What becomes of the labels.

    Raises:
        InputError: If a row is no post, or there is none.
    """
    name = type(table).__name__
    posts = list(posts_of_table(table))
    if not posts:
        raise InputError(f"the {name} has no row")
    problems: list[Problem] = []
    visual = read_visual_join(visual_text, problems)
    folder = Path(images) if images is not None else Path()
    posts = [labels(complete(post, visual=visual, folder=folder, by_id=images is not None)) for post in posts]
    return Dataset(path=name, posts=posts, problems=problems, sha256=_sha256(posts), visual=visual)


def _sha256(posts: Iterable[Post]) -> str:
    """Of what was read: texts and labels, for a table has no file."""
    digest = hashlib.sha256()
    for post in posts:
        entities = [(e.start, e.end, e.label) for e in post.entities or ()]
        digest.update(json.dumps([post.id, post.text, post.words, entities]).encode())
    return digest.hexdigest()
