"""Raw text to words with exact character offsets.

Words are split the way the Twitter NER corpora are: every run of letters and digits is a word, every other visible
character stands alone, so that ``#NBA:`` is ``#``, ``NBA``, ``:``. Nothing is normalised; offsets index the text as
given, whatever its script.

A character is what people see as one: an extended grapheme cluster of Unicode's annex 29, as the regex library knows
them. A letter keeps its accents, vowel signs and joiners, an emoji its skin tone and what is joined to it, a flag its
letters or tags; no offset ever falls inside one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from dpe_mner.types import Post

# Scripts written without spaces whose characters are words or syllables: every one is a word, as BERT has it.
_IDEOGRAPH = r"\p{Ideographic}\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d\U0001aff0-\U0001b16f"
_EXTEND = r"[\p{GCB=Extend}\p{GCB=SpacingMark}\u200d]"
_KEYCAP = r"(?:\p{Emoji}\ufe0f|[0-9]\u20e3)"  # a digit or letter that is shown as a picture
_LETTER = rf"(?!{_KEYCAP})(?=\p{{GCB=Prepend}}*+[[\p{{Alphabetic}}\p{{M}}\p{{N}}]--[\p{{RI}}{_IDEOGRAPH}]])\X"
# What is not seen does not end a word: soft hyphens, marks of direction. In scripts of South-East Asia a zero-width
# space is what parts two words; elsewhere it is where a line may break.
_UNSEEN = r"(?:[[\p{Cf}&&\p{GCB=Control}]--\u200b]|\u200b(?!\p{LB=SA}))"
_SPACE = r"\s\x1c-\x1f"  # what str.isspace takes for space
_WORD = regex.compile(
    rf"{_LETTER}(?:{_UNSEEN}*+{_LETTER})*+"
    rf"|[\p{{RI}}]{{1,2}}+{_EXTEND}*+"  # as \X has it, which would count the flags before it anew for each
    rf"|(?=[^{_SPACE}]|[[{_SPACE}]--\p{{GCB=Control}}]{_EXTEND})\X",
    regex.V1,
)
_ASCII_WORD = re.compile(r"[^\W_]+|\S")  # the same for plain text, several times as fast
_LONGEST_RUN = 20  # the longest run of one sign in the Twitter corpora, where each stands alone


@dataclass(frozen=True)
class Words:
    """A post as words with their place in its text.

    Attributes:
        text: The text offsets count in.
        words: The words.
        starts: First character of each word.
        ends: Character after the last of each word.
    """

    text: str
    words: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]

    def __len__(self) -> int:
        return len(self.words)


def split_text(text: str) -> Words:
    """Split raw text.

    Args:
        text: Any text; may be empty.

    Returns:
        Words whose slices of the text are the words themselves.
    """
    pattern = _ASCII_WORD if text.isascii() else _WORD
    places = [match.span() for match in pattern.finditer(text)]
    if len(places) > _LONGEST_RUN:
        places = _without_long_runs(text, places)
    return Words(text, [text[a:b] for a, b in places], [a for a, _ in places], [b for _, b in places])


def _without_long_runs(text: str, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A sign repeated without end is one word: a drawn line is no more to read than a dash."""
    kept: list[tuple[int, int]] = []
    runs: list[list[tuple[int, int]]] = []
    for place in places:
        last = runs[-1][-1] if runs else (0, -1)
        if last[1] == place[0] and text[slice(*last)] == text[slice(*place)]:
            runs[-1].append(place)
        else:
            runs.append([place])
    for run in runs:
        kept += run if len(run) <= _LONGEST_RUN else [(run[0][0], run[-1][1])]
    return kept


def join_words(words: Sequence[str]) -> Words:
    """Words joined by single spaces; every word keeps its place, empty ones too.

    Args:
        words: Words as given.

    Returns:
        The joined text with offsets.
    """
    starts, position = [], 0
    for word in words:
        starts.append(position)
        position += len(word) + 1
    return Words(" ".join(words), list(words), starts, [s + len(w) for s, w in zip(starts, words, strict=True)])


def words_of(post: Post) -> Words:
    """The post's words with their characters; text is split, given words are joined by single spaces."""
    return split_text(post.text) if post.text is not None else join_words(post.words or ())
