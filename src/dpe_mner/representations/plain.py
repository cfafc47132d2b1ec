"""What a tokenizer is given of a word: the plain letters behind dressed-up ones. Offsets never count in it.

People write names in mathematical, full-width and circled letters; no vocabulary has those. Text as it comes may hold
half a character, too, which no tokenizer takes.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_HALF = re.compile("[\ud800-\udfff]")  # a surrogate without its other half
_UNSEEN = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")


def plain_word(word: str) -> str:
    """The word with its dressed-up letters and digits in compatibility form (NFKC), without soft hyphens and the like.

    Other characters stay: an ellipsis is not three points, the corpora have both.

    Args:
        word: Any characters.

    Returns:
        Text that can be encoded as UTF-8; as long as the word, shorter or longer.
    """
    if word.isascii():
        return word
    word = _HALF.sub("\ufffd", word)
    if not any(c.isalnum() or c.isupper() or c.islower() for c in word):
        return word
    word = _UNSEEN.sub("", word)
    plain = "".join(map(_plain_letter, word))
    return word if plain == word else unicodedata.normalize("NFC", plain)


@lru_cache(maxsize=4096)
def _plain_letter(letter: str) -> str:
    kind = unicodedata.decomposition(letter).partition(">")[0]
    cased = letter.isupper() or letter.islower()  # circled letters are, though they count as signs
    if not kind.startswith("<") or not (cased or letter.isalpha() or letter.isdecimal()):
        return letter
    if kind == "<compat" and not cased:
        return letter  # Korean letters that stand alone, and others that are used as they are
    return unicodedata.normalize("NFKC", letter)
