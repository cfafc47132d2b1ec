"""Posts and visual text as JSON Lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from dpe_mner.data.source import Problem, open_lines
from dpe_mner.types import LabelledSpan, Post


def read_objects(path: str | os.PathLike[str], problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered JSON objects; other lines become problems."""
    name = os.fspath(path)
    for number, line in open_lines(path, problems):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            problems.append(Problem(name, number, "bad-json", f"not valid JSON ({reason}); the line is skipped"))
            continue
        if not isinstance(value, dict):
            problems.append(Problem(name, number, "bad-json", "not a JSON object; the line is skipped"))
            continue
        yield number, value


def read_posts_jsonl(path: str | os.PathLike[str], problems: list[Problem]) -> Iterator[Post]:
    """Posts, one object a line.

    Args:
        path: The file, or ``-``.
        problems: Filled while reading; a bad line is skipped.

    Yields:
        Posts given as text or words.
    """
    name = os.fspath(path)
    for number, value in read_objects(path, problems):
        try:
            yield replace(post_from_object(value, default_id=str(number)), line=number)
        except ValueError as error:
            problems.append(Problem(name, number, "bad-post", f"{error}; the line is skipped"))


def post_from_object(value: dict[str, Any], *, default_id: str = "") -> Post:
    """A post from its JSON object.

    Raises:
        ValueError: Naming the key that is wrong.
    """
    text, words = value.get("text"), value.get("words")
    if (text is None) == (words is None):
        raise ValueError("a post needs either 'text' or 'words'")
    if text is not None and not isinstance(text, str):
        raise ValueError("'text' must be a string")
    if words is not None and not _strings(words):
        raise ValueError("'words' must be a list of strings")
    tags, caption, image = value.get("tags"), value.get("caption"), value.get("image")
    if tags is not None and not _strings(tags):
        raise ValueError("'tags' must be a list of strings")
    for key, entry in (("caption", caption), ("image", image)):
        if entry is not None and not isinstance(entry, str):
            raise ValueError(f"{key!r} must be a string")
    entities = value.get("entities")
    limit = len(text) if text is not None else len(words or ())
    return Post(
        id=default_id if value.get("id") is None else str(value["id"]),
        text=text,
        words=tuple(words) if words is not None else None,
        image=image,
        caption=caption,
        tags=tuple(tags) if tags is not None else None,
        entities=None if entities is None else tuple(_entity(entry, limit) for entry in _listed(entities)),
    )


def _listed(entities: object) -> list[Any]:
    if not isinstance(entities, list):
        raise ValueError("'entities' must be a list")
    return entities


def _entity(entry: object, limit: int) -> LabelledSpan:
    if not isinstance(entry, dict):
        raise ValueError("an entity must be an object with start, end and label")
    start, end, label = entry.get("start"), entry.get("end"), entry.get("label")
    if not isinstance(label, str) or not label:
        raise ValueError(f"entity {entry}: 'label' must be a string")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= limit:
        raise ValueError(f"entity {entry}: needs 0 <= start < end <= {limit}")
    return LabelledSpan(start=start, end=end, label=label)


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


@dataclass(frozen=True)
class VisualText:
    """Caption and tags of a picture, and the line they were read from."""

    caption: str | None
    tags: tuple[str, ...] | None
    line: int


def read_visual_text(path: str | os.PathLike[str], problems: list[Problem]) -> dict[str, VisualText]:
    """Captions and tags by image id; other keys are ignored.

    Args:
        path: JSONL with ``image_id`` and ``caption`` or ``tags``.
        problems: Filled while reading.

    Returns:
        By image id; of a repeated id the first counts.
    """
    name = os.fspath(path)
    found: dict[str, VisualText] = {}
    for number, value in read_objects(path, problems):
        identifier, caption, tags = value.get("image_id"), value.get("caption"), value.get("tags")
        wrong = None
        if not isinstance(identifier, str | int):
            wrong = "no 'image_id'"
        elif caption is not None and not isinstance(caption, str):
            wrong = "'caption' must be a string"
        elif tags is not None and not _strings(tags):
            wrong = "'tags' must be a list of strings"
        if wrong is not None:
            problems.append(Problem(name, number, "bad-visual-text", f"{wrong}; the line is skipped"))
        elif str(identifier) in found:
            problems.append(Problem(name, number, "duplicate-id", f"image_id {identifier!r} again; the first counts"))
        else:
            found[str(identifier)] = VisualText(caption, tuple(tags) if tags is not None else None, number)
    return found
