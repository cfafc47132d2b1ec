"""Predictions as a model writes them, for the formats they go to: hostile texts and labels too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from dpe_mner.data.entities import make_entity
from dpe_mner.data.words import words_of
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.registry import convert
from dpe_mner.types import Grounding, Post, Prediction

LABELS = (
    "PER", "LOC", "MISC", "A B", "<script>alert(1)</script>", '" onload="x', "%41", "..", "a\\b\nc", "אדם", "😀",
    "x#y?z", "http://example.org/a", "{label}", "]]>", "'",
)  # fmt: skip
ALPHABET = st.sampled_from("ab Z9.\n\r\t\"'\\<>&{}#\u00e9\u0301😀👩‍👩‍👧שלוםمرحبا\u200f\u202e\u2028\x85\x07東京")
TEXTS = st.text(ALPHABET, min_size=1, max_size=40)
SHARES = st.integers(0, 1000).map(lambda k: k / 1000)
BOXES = st.tuples(SHARES, SHARES, SHARES, SHARES).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
SCORES = st.floats(0, 1)


@st.composite
def predictions(draw, *, grounded=False, labels=LABELS):
    """A post and what was found in it: entities that do not overlap, of whole words."""
    text = draw(TEXTS)
    words = words_of(Post(text=text))
    entities, at = [], 0
    while at < len(words):
        length = draw(st.integers(0, 3))
        last = min(at + length, len(words)) - 1
        if length:
            entities.append(make_entity(words, at, last, draw(st.sampled_from(labels)), draw(SCORES)))
        at = last + 1 if length else at + 1
    grounding = [
        Grounding(
            entity=k, source=source, name=draw(TEXTS), box=draw(BOXES) if source == "region" else None,
            weight=draw(SCORES), lift=draw(st.floats(1, 9)), relevance=draw(SCORES),
        )
        for k in range(len(entities) if grounded else 0)
        if (source := draw(st.sampled_from(["region", "tag", ""])))
    ]  # fmt: skip
    post = Post(
        id=draw(st.text(ALPHABET, min_size=1, max_size=8)), text=text, caption=draw(st.none() | TEXTS), image="a b.jpg"
    )
    return post, Prediction(post.id, text, entities, grounding=grounding)


def line_of(value) -> str:
    return json.dumps(value) + "\n"


def as_row(post: Post):
    kept = {name: getattr(post, name) for name in ("id", "text", "words", "image", "caption", "tags")}
    return {name: value for name, value in kept.items() if value is not None}


def write_found(folder: Path, found) -> tuple[Path, Path]:
    """Files of posts and of their predictions."""
    posts, made = folder / "posts.jsonl", folder / "found.jsonl"
    posts.write_text("".join(line_of(as_row(post)) for post, _ in found))
    rows = (one.as_dict() | {"grounding": [g.as_dict() for g in one.grounding]} for _, one in found)
    made.write_text("".join(map(line_of, rows)))
    return posts, made


def there_and_back(folder: Path, found, name: str):
    """What a format gives back of predictions, and what it said it had no place for."""
    posts, made = write_found(folder, found)
    base = FormatOptions(posts=str(posts), base="https://example.org/")
    done = convert(made, folder / name, read_as="predictions", write_as=name, options=base)
    back = folder / "back.jsonl"
    again = convert(folder / name, back, read_as=name, write_as="predictions", options=FormatOptions(predicted=True))
    assert done.problems == again.problems == []
    return [json.loads(line) for line in back.read_text(encoding="utf-8").splitlines()], done


def expected(post: Post, prediction: Prediction):
    """The line that should come back."""
    row = prediction.as_dict() | {"text": prediction.text}
    if prediction.grounding:
        row["grounding"] = [g.as_dict() for g in prediction.grounding]
    return row


def renamed(found, identifiers):
    """The same with other ids."""
    return [
        (replace(post, id=name), replace(one, id=name)) for (post, one), name in zip(found, identifiers, strict=True)
    ]
