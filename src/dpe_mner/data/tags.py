"""IOB, IOB2, BIOES and BILOU tags to spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpe_mner.types import LabelledSpan

_OPEN = "BSU"  # begins an entity; S and U are an entity of one word
_CLOSE = "ESLU"  # ends an entity
_PREFIXES = "BIESLU"


@dataclass(frozen=True)
class TagReading:
    """Spans (words, end exclusive), and the positions of I- tags that opened an entity without B-."""

    spans: list[LabelledSpan]
    orphans: list[int]


def is_tag(tag: str) -> bool:
    """Whether a tag is O or a known prefix, a dash and a label."""
    return tag == "O" or (len(tag) > 2 and tag[0] in _PREFIXES and tag[1] == "-")


def read_tags(tags: Sequence[str]) -> TagReading:
    """Read any of the schemes, leniently: an inside tag that continues nothing opens an entity.

    Args:
        tags: One tag a word, each satisfying :func:`is_tag`.

    Returns:
        Spans and orphans (IOB1 has them by design; in IOB2 they are annotation slips).
    """
    spans: list[LabelledSpan] = []
    orphans: list[int] = []
    start, label = -1, ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, kind = tag[0], tag[2:]
        continues = start >= 0 and prefix in "IEL" and kind == label
        if start >= 0 and not continues:
            spans.append(LabelledSpan(start=start, end=position, label=label))
            start = -1
        if tag == "O":
            continue
        if not continues:
            start, label = position, kind
            if prefix not in _OPEN:
                orphans.append(position)
        if prefix in _CLOSE:
            spans.append(LabelledSpan(start=start, end=position + 1, label=label))
            start = -1
    return TagReading(spans, orphans)


def write_tags(spans: Sequence[LabelledSpan], length: int) -> list[str]:
    """IOB2 tags of non-overlapping spans (words, end exclusive)."""
    tags = ["O"] * length
    for span in spans:
        tags[span.start] = f"B-{span.label}"
        for position in range(span.start + 1, span.end):
            tags[position] = f"I-{span.label}"
    return tags
