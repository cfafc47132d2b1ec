"""Raw text to words with exact character offsets.

Words are split the way the Twitter NER corpora are: every run of letters and digits is a word, every other visible
character stands alone, so that ``#NBA:`` is ``#``, ``NBA``, ``:``. Nothing is normalised; offsets index the text as
given, whatever its script.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dpe_mner.types import Post

# A word may carry combining marks (accents, vowel signs); an emoji keeps its skin tone, its variation selector and
# what is joined to it, so that no offset ever falls inside one character as people see it.
_MARK = r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0903\u093a-\u094f\u20d0-\u20ff"
# Scripts written without spaces: every character is a word, as BERT's own splitting has it.
_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_EXTEND = r"[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\u20e3]"
_WORD = re.compile(
    rf"[{_IDEOGRAPH}]"
    rf"|(?:[^\W_{_IDEOGRAPH}]|[{_MARK}])+"
    rf"|[\U0001f1e6-\U0001f1ff]{{2}}"
    rf"|\S{_EXTEND}*(?:\u200d[^\s\w]{_EXTEND}*)*"
)


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
    matches = list(_WORD.finditer(text))
    return Words(text, [m.group() for m in matches], [m.start() for m in matches], [m.end() for m in matches])


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
