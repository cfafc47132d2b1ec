"""The spans of a reasoning step as arcs over the words: what it found above them, what it started from below.

Everything is placed here in pixels, so that the page needs no script. Words stand in cells of a fixed pitch, which any
monospaced font fits, and lines break where the page is narrow; an arc that a break cuts goes on in the next line.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpe_mner.data.words import Words

PITCH = 9.1  # pixels of a column of text
_LABEL_PITCH = 7.0
_MOST_COLUMNS = 26  # of one word; the whole text stands over the diagram
_MOST_LABEL = 10
_TEXT = 22  # height of a line of text
_FIRST, _LANE = 9, 21  # from the text to the lowest arc above it, and from arc to arc
_INSET = 1.5
_CORNER = 9.0
_DEEPEST = 80.0  # what the depth of an arc below goes towards
_JOINER, _SKIN_TONES = "\u200d", range(0x1F3FB, 0x1F400)


@dataclass(frozen=True, kw_only=True)
class Arc:
    """A span to draw.

    Attributes:
        first: First word.
        last: Last word.
        label: Entity type, for the colour; empty for none.
        note: Written beside the type; only above the words.
        style: Classes of the style sheet; never a user's words.
        rank: Of overlapping spans the greatest colours the words.
        count: How many spans these are; only below the words.
    """

    first: int
    last: int
    label: str
    note: str = ""
    style: str = ""
    rank: float = 0.0
    count: int = 1


@dataclass(frozen=True)
class PlacedWord:
    """A word, written around ``x``; its ground runs from ``left`` over ``width`` pixels if ``label`` is not empty."""

    text: str
    x: float
    y: float
    left: float
    width: float
    label: str = ""


@dataclass(frozen=True)
class PlacedArc:
    """A path of an SVG; ``text`` is written around (``x``, ``y``) and empty below the words and after a break."""

    path: str
    label: str
    style: str
    thickness: float
    text: str = ""
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Diagram:
    """A step's arcs, placed. ``words`` goes before ``above``; ``below`` has the spans without a type first."""

    width: float
    height: float
    words: list[PlacedWord]
    above: list[PlacedArc]
    below: list[PlacedArc]


@dataclass(frozen=True)
class _Line:
    """Words ``first`` to before ``end``, the pixels each covers, and whether they run to the left."""

    first: int
    end: int
    edges: list[tuple[float, float]]
    width: float
    mirrored: bool

    def cut(self, arc: Arc) -> tuple[int, int] | None:
        """First and last word of the arc in this line."""
        first, last = max(arc.first, self.first), min(arc.last, self.end - 1)
        return (first, last) if first <= last else None

    def reach(self, first: int, last: int) -> tuple[float, float]:
        """Left and right pixel of these words."""
        (a, b), (c, d) = self.edges[first - self.first], self.edges[last - self.first]
        return min(a, c), max(b, d)

    def closed(self, arc: Arc) -> tuple[bool, bool]:
        """Whether the arc has its left and its right end in this line."""
        begins, ends = arc.first >= self.first, arc.last < self.end
        return (ends, begins) if self.mirrored else (begins, ends)


def arc_diagram(words: Words, found: Sequence[Arc], starts: Sequence[Arc], *, columns: int) -> Diagram:
    """Place a step's arcs.

    Args:
        words: Of the post.
        found: Drawn above them.
        starts: Drawn below.
        columns: Of text in a line at most; one column is :data:`PITCH` pixels.
    """
    lines = _lines(words, columns)
    owner = _coloured(found, len(words))
    width = max((line.width for line in lines), default=0.0)
    placed = Diagram(width, 0.0, [], [], [])
    top = 0.0
    for line in lines:
        lanes, above_width = _lanes(line, found)
        top += (_FIRST + _LANE * max(lanes.values(), default=-1) + _LANE) if lanes else 4.0
        width = max(width, above_width)
        for index in range(line.first, line.end):
            left, right = line.edges[index - line.first]
            text = _shortened(words.words[index], _MOST_COLUMNS)
            placed.words.append(PlacedWord(text, (left + right) / 2, top + 16, left, right - left, owner[index]))
        placed.above.extend(_above(line, found[k], lane, top) for k, lane in lanes.items())
        below, depth = _below(line, starts, top + _TEXT)
        placed.below.extend(below)
        top += _TEXT + depth + 4
    return replace(
        placed,
        width=round(width, 1),
        height=round(top, 1),
        below=sorted(placed.below, key=lambda arc: bool(arc.label)),
    )


def _columns(text: str) -> int:
    """Columns a monospaced font takes: none for marks on a letter, two for East Asian letters and for emoji."""
    wide = 0
    for k, character in enumerate(text):
        joined = k > 0 and (text[k - 1] == _JOINER or ord(character) in _SKIN_TONES)
        if joined or unicodedata.category(character) in {"Cf", "Mn", "Me"}:
            continue
        wide += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return max(wide, 1)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _right_to_left(text: str) -> bool:
    """Whether the first letter with a direction runs to the left."""
    kinds = (unicodedata.bidirectional(character) for character in text)
    return next((kind != "L" for kind in kinds if kind in {"L", "R", "AL"}), False)


def _lines(words: Words, columns: int) -> list[_Line]:
    cells: list[list[tuple[int, int]]] = [[]]  # columns of each word, line by line
    at = 0
    for k, word in enumerate(words.words):
        wide = _columns(_shortened(word, _MOST_COLUMNS))
        gap = 1 if cells[-1] and words.starts[k] > words.ends[k - 1] else 0
        if cells[-1] and at + gap + wide > columns:
            cells.append([])
            at = gap = 0
        cells[-1].append((at + gap, at + gap + wide))
        at += gap + wide
    lines, first = [], 0
    whole = max((line[-1][1] for line in cells if line), default=0)
    mirrored = _right_to_left(words.text)
    for line in cells:
        if mirrored:
            line = [(whole - right, whole - left) for left, right in line]
        edges = [(left * PITCH, right * PITCH) for left, right in line]
        lines.append(_Line(first, first + len(line), edges, max((r for _, r in edges), default=0.0), mirrored))
        first += len(line)
    return [line for line in lines if line.edges]


def _coloured(found: Sequence[Arc], count: int) -> list[str]:
    """The type that colours each word: of overlapping spans the one of greatest rank, faint ones never."""
    owner = [""] * count
    for arc in sorted(found, key=lambda arc: -arc.rank):
        span = range(arc.first, arc.last + 1)
        if "faint" not in arc.style and not any(owner[k] for k in span):
            for k in span:
                owner[k] = arc.label
    return owner


def _written(arc: Arc) -> str:
    return f"{_shortened(arc.label, _MOST_LABEL)} {arc.note}".strip()


def _lanes(line: _Line, found: Sequence[Arc]) -> tuple[dict[int, int], float]:
    """A lane for each arc in the line, short spans lowest, so that neither arcs nor labels meet; and their width."""
    taken: list[list[tuple[float, float]]] = []
    lanes: dict[int, int] = {}
    width = line.width
    for k in sorted(range(len(found)), key=lambda k: (found[k].last - found[k].first, -found[k].rank)):
        part = line.cut(found[k])
        if part is None:
            continue
        left, right = line.reach(*part)
        centre, half = _label_place(line, found[k], left, right)
        reach = min(left, centre - half), max(right, centre + half)
        width = max(width, reach[1])
        free = (
            lane
            for lane, others in enumerate(taken)
            if all(reach[1] + 2 < low or reach[0] - 2 > high for low, high in others)
        )
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(reach)
        lanes[k] = lane
    return lanes, width


def _label_place(line: _Line, arc: Arc, left: float, right: float) -> tuple[float, float]:
    """Centre and half of the width of an arc's label, which does not begin before the line does."""
    half = _columns(_written(arc)) * _LABEL_PITCH / 2 if arc.first >= line.first else 0.0
    return max((left + right) / 2, half), half


def _above(line: _Line, arc: Arc, lane: int, ground: float) -> PlacedArc:
    """A bracket with round corners, open towards the line that holds the rest of it."""
    part = line.cut(arc)
    assert part is not None
    left, right = line.reach(*part)
    centre, _ = _label_place(line, arc, left, right)
    top = ground - _FIRST - lane * _LANE
    path = _bracket(left + _INSET, right - _INSET, ground, top, closed=line.closed(arc))
    text = _written(arc) if arc.first == part[0] else ""
    return PlacedArc(path, arc.label, arc.style, 2.0, text, round(centre, 1), round(top - 3, 1))


def _below(line: _Line, starts: Sequence[Arc], ground: float) -> tuple[list[PlacedArc], float]:
    """Arcs, deeper where they are longer and as deep in each line they go through; and how deep the deepest is."""
    arcs, deepest = [], 0.0
    for arc in starts:
        part = line.cut(arc)
        if part is None:
            continue
        left, right = line.reach(*part)
        left, right = left + _INSET, right - _INSET
        depth = 8.0 + 9.0 * (arc.last - arc.first)
        depth *= _DEEPEST / (_DEEPEST + depth)
        deepest = max(deepest, depth)
        if part == (arc.first, arc.last):
            control = ground + depth * 4 / 3  # a cubic reaches three quarters of the way to its control points
            path = (
                f"M{left:.1f} {ground:.1f}C{left:.1f} {control:.1f} {right:.1f} {control:.1f} {right:.1f} {ground:.1f}"
            )
        else:
            path = _bracket(left, right, ground, ground + depth, closed=line.closed(arc))
        arcs.append(PlacedArc(path, arc.label, arc.style, round(1 + math.log2(arc.count), 2)))
    return arcs, deepest


def _bracket(left: float, right: float, ground: float, level: float, *, closed: tuple[bool, bool]) -> str:
    """Up (or down) from the ground to a level, along it and back; a side that a break cuts stays open."""
    radius = min(_CORNER, (right - left) / 2, abs(level - ground))
    near = level + math.copysign(radius, ground - level)
    start = f"M{left:.1f} {level:.1f}"
    if closed[0]:
        start = f"M{left:.1f} {ground:.1f}V{near:.1f}Q{left:.1f} {level:.1f} {left + radius:.1f} {level:.1f}"
    end = f"H{right:.1f}"
    if closed[1]:
        end = f"H{right - radius:.1f}Q{right:.1f} {level:.1f} {right:.1f} {near:.1f}V{ground:.1f}"
    return start + end
