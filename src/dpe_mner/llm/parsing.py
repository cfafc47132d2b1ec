"""A model's answer to entities of the post: strict JSON, every entity where the text has it, nothing guessed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from dpe_mner.data.json_values import parse_json
from dpe_mner.data.words import Words
from dpe_mner.types import Entity

_FENCE = "```"  # of Markdown


@dataclass(frozen=True)
class Parsed:
    """What an answer says.

    Attributes:
        entities: By position; they do not overlap.
        readable: Whether the answer was the JSON asked for; otherwise there are no entities.
        unknown_labels: Entities with a type that was not asked for.
        not_in_text: Entities whose characters are no words of the post.
        no_place: Entities that are in the text, but listed more often than it has them, or only where an earlier one
            lies.
    """

    entities: list[Entity] = field(default_factory=list)
    readable: bool = True
    unknown_labels: int = 0
    not_in_text: int = 0
    no_place: int = 0


def parse_answer(content: str, words: Words, labels: Collection[str]) -> Parsed:
    """Read an answer of the form ``{"entities": [{"text": ..., "label": ...}]}``.

    An entity is looked for as it is written, capitals and all, but for white space around it; it must begin and end
    with words of the post. The first mention that is still free is taken, from the left; of two that overlap the one
    listed first stays.

    Args:
        content: The whole answer; a Markdown fence around it is no part of it.
        words: Of the post, whose text the model was shown.
        labels: Types that were asked for.
    """
    listed = _listed(content)
    if listed is None:
        return Parsed(readable=False)
    first = {start: k for k, start in enumerate(words.starts)}
    last = {end: k for k, end in enumerate(words.ends)}
    taken: list[Entity] = []
    unknown = absent = crowded = 0
    for text, label in listed:
        if label not in labels:
            unknown += 1
            continue
        places = [(a, b) for a, b in _places(text, words.text) if a in first and b in last]
        free = next(((a, b) for a, b in places if all(b <= e.start or e.end <= a for e in taken)), None)
        if free is not None:
            start, end = free
            entity = Entity(
                text=words.text[start:end],
                label=label,
                start=start,
                end=end,
                word_start=first[start],
                word_end=last[end] + 1,
                score=1.0,
            )
            taken.append(entity)
        elif places:
            crowded += 1
        else:
            absent += 1
    taken.sort(key=lambda entity: entity.start)
    return Parsed(taken, unknown_labels=unknown, not_in_text=absent, no_place=crowded)


def _listed(content: str) -> list[tuple[str, str]] | None:
    """Text and label of what an answer lists; None if it is not what was asked for."""
    try:
        value = parse_json(_without_fence(content.strip()))
    except (ValueError, RecursionError):
        return None
    entries = value.get("entities") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    listed = []
    for entry in entries:
        text, label = (entry.get("text"), entry.get("label")) if isinstance(entry, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(label, str):
            return None
        listed.append((text.strip(), label.strip()))
    return listed


def _without_fence(text: str) -> str:
    """What stands between the first and the last line if those are a fence, else all of it."""
    opening, _, rest = text.partition("\n")
    inside, _, closing = rest.rpartition("\n")
    fenced = opening.strip().lower() in {_FENCE, f"{_FENCE}json"} and closing.strip() == _FENCE
    return inside if fenced else text


def _places(wanted: str, text: str) -> Iterator[tuple[int, int]]:
    """First character and character after the last of every mention, from the left, overlapping ones too."""
    start = text.find(wanted) if wanted else -1
    while start >= 0:
        yield start, start + len(wanted)
        start = text.find(wanted, start + 1)
