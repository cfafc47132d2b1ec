"""JSON as files have it: an object a line, an array, or objects over many lines; no key twice."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import chain
from typing import Any

MOST_WHOLE = 2**30  # characters that are read at once; as objects they take several times that
_MOST_DIGITS = 640  # the least limit that Python can be set to
_SPACE = re.compile(r"[\s\ufeff]*")
Bad = Callable[[int, str], None]  # receives a line number and what is wrong there


class DuplicateKeyError(ValueError):
    """A JSON object that says the same key twice; which of the two is meant nobody can tell."""


def parse_json(text: str) -> Any:
    """A JSON value.

    Raises:
        DuplicateKeyError: If an object has a key twice.
        ValueError: If it is no JSON.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_int=_whole_number)


def _whole_number(digits: str) -> int | Decimal:
    """A number of thousands of digits, which Python refuses to read as an int, costs its line at most."""
    return int(digits) if len(digits) <= _MOST_DIGITS else Decimal(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(f"the key {key!r} occurs twice; keep one")
            seen.add(key)
    return found


def reason_of(error: Exception) -> str:
    """Why a text is no JSON, in a few words."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return getattr(error, "msg", None) or " ".join(str(error).split())


def read_values(lines: Iterable[tuple[int, str]], bad: Bad) -> Iterator[tuple[int, Any]]:
    """Values and the lines they begin at, however they are laid out.

    Lines are read one at a time where the first holds a whole object; an array, or an object over many lines, is read
    whole.

    Args:
        lines: Numbered.
        bad: Told of what cannot be read.
    """
    stream = iter(lines)
    first = next((entry for entry in stream if entry[1].strip(" \t\r\n\ufeff")), None)
    if first is None:
        return
    rest = chain([first], stream)
    if not _is_open(first[1]):
        yield from _by_line(rest, bad)
        return
    kept: list[tuple[int, str]] = []
    size = 0
    for number, line in rest:
        kept.append((number, line))
        size += len(line) + 1
        if size > MOST_WHOLE:
            bad(number, f"more than {MOST_WHOLE >> 20} million characters in one value; give an object a line")
            return
    values, error = _whole(kept)
    if error is not None and len(kept) > 1 and not values:  # a first line that was cut off, before others
        yield from _by_line(kept, bad)
        return
    yield from values
    if error is not None:
        bad(*error)


def _is_open(line: str) -> bool:
    """Whether a line begins an array, or an object that goes on below."""
    text = line.strip().lstrip("\ufeff").lstrip()
    if text.startswith("["):
        return True
    if not text.startswith("{"):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return False


def _by_line(lines: Iterable[tuple[int, str]], bad: Bad) -> Iterator[tuple[int, Any]]:
    for number, line in lines:
        line = line.lstrip("\ufeff")
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except (ValueError, RecursionError) as error:
            bad(number, reason_of(error))
            continue
        yield number, value


def _whole(lines: list[tuple[int, str]]) -> tuple[list[tuple[int, Any]], tuple[int, str] | None]:
    """Items of an array, or values one after another; and where reading stopped, if it did before the end."""
    text = "\n".join(line for _, line in lines)
    starts = [0]
    for _, line in lines:
        starts.append(starts[-1] + len(line) + 1)

    def line_at(position: int) -> int:
        return lines[min(bisect_right(starts, position), len(lines)) - 1][0]

    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole_number)
    values: list[tuple[int, Any]] = []
    position = _skip(text, 0)
    array = text.startswith("[", position)
    position = _skip(text, position + array)
    try:
        while position < len(text):
            if array and text[position] == "]":
                position = _skip(text, position + 1)
                if position < len(text):
                    # Arrays below each other: what JSON Lines of lists look like.
                    array = text.startswith("[", position)
                    position = _skip(text, position + array)
                    continue
                return values, None
            value, end = decoder.raw_decode(text, position)
            values.append((line_at(position), value))
            position = _skip(text, end)
            if text.startswith(",", position):
                position = _skip(text, position + 1)
            elif array and not text.startswith("]", position):
                return values, (line_at(position), "expected ',' or ']'; nothing after it could be read")
    except json.JSONDecodeError as error:
        return values, (line_at(error.pos), f"{error.msg}; nothing after it could be read")
    except (ValueError, RecursionError) as error:
        return values, (line_at(position), f"{reason_of(error)}; nothing after it could be read")
    return values, (lines[-1][0], "the array is not closed; is the file cut off?") if array else None


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return position if found is None else found.end()
