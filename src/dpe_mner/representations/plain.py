"""What a tokenizer is given of a word: the plain letters behind dressed-up ones. Offsets never count in it.

People write names in mathematical, full-width and circled letters; no vocabulary has those. Text as it comes may hold
half a character, too, which no tokenizer takes.
"""

from __future__ import annotations

import re
import unicodedata

_HALF = re.compile("[\ud800-\udfff]")  # a surrogate without its other half
_UNSEEN = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")


def plain_word(word: str) -> str:
    """The word in compatibility form (NFKC) without soft hyphens and the like; signs and emoji stay as they are.

    Args:
        word: Any characters.

    Returns:
        Text that can be encoded as UTF-8; as long as the word, shorter or longer.
    """
    if word.isascii():
        return word
    word = _HALF.sub("\ufffd", word)
    if not any(c.isalpha() or c.isupper() or c.islower() or c.isdecimal() for c in word):
        return word  # an ellipsis is not three points: the corpora have both
    return unicodedata.normalize("NFKC", _UNSEEN.sub("", word))
