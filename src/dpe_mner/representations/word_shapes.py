"""What an uncased encoder no longer sees of a word: its shape, and its characters as written. Needs no PyTorch."""

from __future__ import annotations

import unicodedata

SHAPES = 5
CHARACTERS = 16
CODES = 256


def word_shape(word: str) -> int:
    """1 lower, 2 Title, 3 UPPER, 4 other; 0 is kept for special pieces."""
    if not any(c.isalpha() for c in word):
        return 4
    if len(word) > 1 and word.isupper():
        return 3
    return 2 if word[:1].isupper() else 1


def compound_parts(word: str) -> list[str]:
    """The parts of a compound as hashtags write it: at a change of case, between letters and digits.

    ``NBAFinals2017`` is ``NBA``, ``Finals``, ``2017``; a plain word is its own only part.
    """
    cuts = [0]
    for position in range(1, len(word)):
        before, here = word[position - 1], word[position]
        if "M" in (unicodedata.category(before)[0], unicodedata.category(here)[0]):
            continue  # an accent or vowel sign belongs to its letter
        after = word[position + 1 : position + 2]
        kinds_differ = before.isalpha() != here.isalpha() or before.isdigit() != here.isdigit()
        rises = before.islower() and here.isupper()
        acronym_ends = before.isupper() and here.isupper() and after.islower()
        if kinds_differ or rises or acronym_ends:
            cuts.append(position)
    return [word[a:b] for a, b in zip(cuts, [*cuts[1:], len(word)], strict=True)]


def character_codes(word: str) -> list[int]:
    """Codes 1 .. 255 of the first sixteen characters; everything beyond Latin-1 shares the last code."""
    return [min(max(ord(c), 1), CODES - 1) for c in word[:CHARACTERS]]
