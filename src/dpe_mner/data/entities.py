"""Scored word spans of a post to entities with their characters. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from dpe_mner.data.words import Words
from dpe_mner.types import Entity

ScoredSpan = tuple[int, int, str, float]  # first word, last word, label, score


def make_entity(words: Words, first: int, last: int, label: str, score: float) -> Entity:
    """An entity with its characters."""
    start, end = words.starts[first], words.ends[last]
    return Entity(words.text[start:end], label, start, end, first, last + 1, score)


def without_overlap(spans: Sequence[ScoredSpan]) -> list[ScoredSpan]:
    """Windows may disagree where they meet: the better score stays. In order of position."""
    kept: list[ScoredSpan] = []
    for span in sorted(spans):
        if kept and span[0] <= kept[-1][1]:
            if span[3] > kept[-1][3]:
                kept[-1] = span
            continue
        kept.append(span)
    return kept
