"""Arcs over the words: where they stand, how lines break them, and scripts that run to the left."""

from __future__ import annotations

import re

import pytest

from dpe_mner.data.words import split_text
from dpe_mner.pages.arcs import PITCH, Arc, arc_diagram


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d", path)]


def found(first: int, last: int, label: str = "PER", *, score: float = 0.9, style: str = "") -> Arc:
    return Arc(first=first, last=last, label=label, note=f"{score:.2f}", rank=score, style=style)


def test_words_stand_as_in_the_text():
    diagram = arc_diagram(split_text("ab, c"), [], [], columns=80)
    assert [word.text for word in diagram.words] == ["ab", ",", "c"]
    assert [word.left / PITCH for word in diagram.words] == pytest.approx([0, 2, 4])  # no space before the comma
    assert [word.width / PITCH for word in diagram.words] == pytest.approx([2, 1, 1])
    assert diagram.width == pytest.approx(5 * PITCH, abs=0.05)
    assert len({word.y for word in diagram.words}) == 1


def test_an_arc_reaches_from_its_first_to_its_last_word():
    words = split_text("one two three four")
    (above,) = arc_diagram(words, [found(1, 2)], [], columns=80).above
    (below,) = arc_diagram(words, [], [Arc(first=1, last=2, label="")], columns=80).below
    for path in (above.path, below.path):
        xs = numbers(path)
        assert xs[0] == pytest.approx(4 * PITCH, abs=2)  # left of "two"
        assert max(xs) == pytest.approx(13 * PITCH, abs=2)  # right of "three"
    assert above.text == "PER 0.90"
    assert below.text == ""


def test_found_spans_stand_above_the_words_and_starts_below():
    diagram = arc_diagram(split_text("one two"), [found(0, 0)], [Arc(first=0, last=1, label="")], columns=80)
    line = diagram.words[0].y
    assert diagram.above[0].y < line - 10
    assert max(numbers(diagram.below[0].path)) > line
    assert diagram.height > max(word.y for word in diagram.words)


def test_overlapping_spans_take_lanes_and_their_labels_never_meet():
    words = split_text("St . Louis at Wrigley Field")
    spans = [found(0, 2), found(0, 5, "MISC"), found(4, 5), found(0, 2, "LOC", score=0.4)]
    placed = arc_diagram(words, spans, [], columns=80).above
    assert len({arc.y for arc in placed}) == 3  # the first and the third share one
    for k, one in enumerate(placed):
        for other in placed[k + 1 :]:
            if one.y == other.y:
                assert abs(one.x - other.x) > 4 * PITCH
    (whole,) = (arc for arc in placed if arc.label == "MISC")
    assert whole.y == min(arc.y for arc in placed)  # the longest lies over all others


def test_of_overlapping_spans_the_surest_colours_the_words_and_faint_ones_none():
    words = split_text("The Cubs win it")
    spans = [
        found(0, 1, "MISC", score=0.6),
        found(1, 1, "ORG", score=0.8),
        found(3, 3, "LOC", score=0.2, style="faint"),
    ]
    assert [word.label for word in arc_diagram(words, spans, [], columns=80).words] == ["", "ORG", "", ""]


def test_more_equal_spans_are_a_thicker_arc_and_typed_ones_lie_over_the_others():
    starts = [Arc(first=0, last=0, label="PER", count=4), Arc(first=1, last=1, label="")]
    below = arc_diagram(split_text("a b"), [], starts, columns=80).below
    assert [arc.label for arc in below] == ["", "PER"]
    assert [arc.thickness for arc in below] == [1, 3]


def test_a_break_cuts_an_arc_and_its_label_is_written_once():
    words = split_text("alpha beta gamma delta")
    diagram = arc_diagram(words, [found(0, 3)], [Arc(first=0, last=3, label="")], columns=11)
    assert sorted({word.y for word in diagram.words}) == [diagram.words[0].y, diagram.words[2].y]
    assert [arc.text for arc in diagram.above] == ["PER 0.90", ""]
    first, second = (arc.path for arc in diagram.above)
    assert ("V" in first, "V" in second) == (True, True)
    assert first.count("V") == second.count("V") == 1  # one leg each
    assert first.startswith("M1.5")
    assert diagram.width <= 11 * PITCH
    assert len(diagram.below) == 2


def test_a_text_that_runs_to_the_left_is_mirrored():
    words = split_text("אחד שתיים")
    diagram = arc_diagram(words, [found(0, 0)], [], columns=80)
    right, left = diagram.words
    assert right.left > left.left + left.width
    assert left.left == pytest.approx(0)
    assert right.left + right.width == pytest.approx(9 * PITCH)
    broken = arc_diagram(words, [found(0, 1)], [], columns=6).above
    assert broken[0].text
    assert broken[0].path.rstrip("0123456789.").endswith("V")  # its beginning is the leg on the right
    assert not broken[1].path.rstrip("0123456789.").endswith("V")


def test_long_words_are_shortened_and_wide_letters_take_two_columns():
    diagram = arc_diagram(split_text("x" * 300), [], [], columns=30)
    assert diagram.words[0].text.endswith("…")
    assert diagram.width <= 30 * PITCH
    assert arc_diagram(split_text("日"), [], [], columns=9).words[0].width == pytest.approx(2 * PITCH)
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
    assert arc_diagram(split_text(family), [], [], columns=9).words[0].width == pytest.approx(2 * PITCH)
    assert arc_diagram(split_text("e\u0301"), [], [], columns=9).words[0].width == PITCH


def test_no_word_is_no_line():
    diagram = arc_diagram(split_text(""), [], [], columns=80)
    assert (diagram.words, diagram.height) == ([], 0)
