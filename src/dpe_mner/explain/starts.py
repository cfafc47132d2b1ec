"""The spans a reasoning step started from: noise at first, then where the step before led."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dpe_mner.data.words import Words
from dpe_mner.reasoning.network import SpanPass
from dpe_mner.representations.windows import Window
from dpe_mner.types import StartSpan

StartRow = tuple[int, int, int, int]  # first word, last word, class (0 for no entity), how many


def start_rows(step: SpanPass) -> list[list[StartRow]]:
    """Distinct starting spans of each post, with the class the step gave them, by position."""
    ends = step.ends.sort(dim=-1).values.tolist()  # noise may cross the two ends of a span
    classes = step.output.types.argmax(-1).tolist()
    rows = []
    for spans, kinds in zip(ends, classes, strict=True):
        counted = Counter((left, right, kind) for (left, right), kind in zip(spans, kinds, strict=True))
        rows.append([(*row, count) for row, count in sorted(counted.items())])
    return rows


def start_spans(
    words: Words, windows: Iterable[tuple[Window, Sequence[StartRow]]], labels: Sequence[str]
) -> list[StartSpan]:
    """The starting spans of a post; of windows that overlap each gives those that begin in the words it owns."""
    found = []
    for window, rows in windows:
        low, high = window.owned
        for left, right, kind, count in rows:
            first, last = window.first + left, window.first + right
            if low <= first < high:
                label = labels[kind - 1] if kind else ""
                found.append(StartSpan(words.starts[first], words.ends[last], first, last + 1, label, count))
    return found
