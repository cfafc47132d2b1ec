"""Texts nobody wrote, through the word splitter and what counts in its offsets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_words import check

from dpe_mner.data.entities import make_entity
from dpe_mner.data.gold import gold_characters, gold_words
from dpe_mner.data.words import split_text
from dpe_mner.representations.plain import plain_word
from dpe_mner.types import LabelledSpan, Post

# What joins, parts, hides and prefixes, of every kind that the rules of annex 29 tell apart.
HARD = (
    "ab1_#.@ \t\n\r\u0085\u00a0\u3000\u2028\x00\x1c"
    "\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff\u0301\u0903\u093f\u094d\u0e33"
    "\ufe0f\ufe0e\u20e3\u0600\u06dd\u0d4e\U000110bd\u1100\u1161\u11a8가각東とﾊﾞー\u3099กကកᄀकक्षத்බ\u0dcaཀ་é𝐊Ｋ²½Ⓐ"
    "🇺🇸👩🏽❤🚀🏴\U000e0067\U000e007f\U0001f170©ℹ\ud800\udc00\ufffe\U0010ffff\u0378"
)
text = st.text(alphabet=st.one_of(st.sampled_from(HARD), st.characters(exclude_categories=())), max_size=60)


def everything_holds(text: str, first: int, last: int) -> None:
    check(text)
    words = split_text(text)
    for word in words.words:
        plain_word(word).encode("utf-8")
    if not len(words):
        return
    first, last = sorted((first % len(words), last % len(words)))
    entity = make_entity(words, first, last, "X", 0.5)
    assert text[entity.start : entity.end] == entity.text != ""
    post = Post(text=text, entities=(LabelledSpan(start=entity.start, end=entity.end, label="X"),))
    assert gold_words(post, words) == [(first, last, "X")]
    assert gold_characters(post, words) == {(entity.start, entity.end, "X")}


numbers = st.integers(0, 59)


@settings(max_examples=400, deadline=None)
@given(text, numbers, numbers)
def test_offsets_of_any_text(text, first, last):
    everything_holds(text, first, last)


@pytest.mark.slow
@settings(max_examples=50_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(text, numbers, numbers)
def test_offsets_of_fifty_thousand_texts(text, first, last):
    everything_holds(text, first, last)
