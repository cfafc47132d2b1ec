"""Posts and visual text as JSON Lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dpe_mner.data.json_values import read_values
from dpe_mner.data.recognise import label_keys, tool_hint
from dpe_mner.data.source import Problem, open_lines
from dpe_mner.types import LabelledSpan, Post

_ESCAPED = re.compile("[\u0085\u2028\u2029\ud800-\udfff]")
_MOST_DIGITS = 640  # the least limit that Python can be set to
_MOST_SHOWN = 200  # characters of bad input in a message


def read_objects(
    path: str | os.PathLike[str], problems: list[Problem], *, lines: Iterable[tuple[int, str]] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON objects and the lines they begin at: one a line, in an array, or over many lines; others become problems.

    Args:
        path: The file, or ``-``.
        problems: Filled while reading.
        lines: The numbered lines, where the file is open already.
    """
    name = os.fspath(path)

    def bad(number: int, reason: str) -> None:
        problems.append(Problem(name, number, "bad-json", f"not valid JSON ({reason}); the line is skipped"))

    for number, value in read_values(open_lines(path, problems) if lines is None else lines, bad):
        if not isinstance(value, dict):
            message = f"not a JSON object; the line is skipped{tool_hint(name, value)}"
            problems.append(Problem(name, number, "bad-json", message))
            continue
        yield number, value


def json_line(value: object) -> str:
    """A value as one line of JSON that can be written as UTF-8.

    Half a surrogate pair is escaped, so that a reader gets the characters back that a post came with; line separators
    of Unicode too, for those who split a file at them.
    """
    line = json.dumps(value, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", line) + "\n"


def read_posts_jsonl(
    path: str | os.PathLike[str], problems: list[Problem], *, lines: Iterable[tuple[int, str]] | None = None
) -> Iterator[Post]:
    """Posts, as JSON objects.

    Args:
        path: The file, or ``-``.
        problems: Filled while reading; a bad line is skipped.
        lines: The numbered lines, where the file is open already.

    Yields:
        Posts given as text or words.
    """
    name = os.fspath(path)
    for number, value in read_objects(path, problems, lines=lines):
        try:
            post = replace(post_from_object(value, default_id=str(number)), line=number)
        except ValueError as error:
            hint = tool_hint(name, value)
            problems.append(Problem(name, number, "bad-post", f"{error}; the line is skipped{hint}"))
            continue
        for key in label_keys(value):
            message = f"{key!r} looks like labels and is not read; they belong under 'entities'{tool_hint(name, value)}"
            problems.append(Problem(name, number, "label-key", message))
        yield post


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
    convention = value.get("convention")
    for key, entry in (("caption", caption), ("image", image), ("convention", convention)):
        if entry is not None and not isinstance(entry, str):
            raise ValueError(f"{key!r} must be a string")
    identifier = value.get("id")
    if isinstance(identifier, bool | list | dict) or identifier != identifier:
        raise ValueError("'id' must be a string or a number")
    entities = value.get("entities")
    limit = len(text) if text is not None else len(words or ())
    return Post(
        id=default_id if identifier is None else str(identifier),
        text=text,
        words=tuple(words) if words is not None else None,
        image=image,
        caption=caption,
        tags=tuple(tags) if tags is not None else None,
        entities=None if entities is None else tuple(_entity(entry, limit) for entry in _listed(entities)),
        convention=convention,
    )


def _listed(entities: object) -> list[Any]:
    if not isinstance(entities, list):
        raise ValueError("'entities' must be a list")
    return entities


def _entity(entry: object, limit: int) -> LabelledSpan:
    if not isinstance(entry, dict):
        raise ValueError("an entity must be an object with start, end and label")
    shown = str(entry)[:_MOST_SHOWN]
    start, end, label = entry.get("start"), entry.get("end"), entry.get("label")
    if not isinstance(label, str) or not label:
        raise ValueError(f"entity {shown}: 'label' must be a string")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= limit:
        raise ValueError(f"entity {shown}: needs 0 <= start < end <= {limit}")
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
