"""Captions that state the answers: a model trained with them that reads captions must reach nearly 100."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from dpe_mner.data.gold import gold_words
from dpe_mner.data.words import words_of
from dpe_mner.types import Post

KINDS = {"PER": "a person", "LOC": "a place", "ORG": "an organization", "MISC": "a thing"}
NOTHING = "nothing is named"


def stated(post: Post) -> str:
    """Say of each entity what it is, e.g. ``Kevin Durant is a person , Oracle Arena is a place``."""
    words = words_of(post)
    named = (
        f"{' '.join(words.words[first : last + 1])} is {KINDS.get(label, label.lower())}"
        for first, last, label in gold_words(post, words)
    )
    return " , ".join(named) or NOTHING


def write_stated(posts: Iterable[Post], path: Path) -> None:
    """Write a visual text file with a stating caption for every post."""
    lines = (json.dumps({"image_id": post.id, "caption": stated(post)}, ensure_ascii=False) for post in posts)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
