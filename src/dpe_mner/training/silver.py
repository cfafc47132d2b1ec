"""Silver labels: what several teachers agree on in posts that nobody labelled, for a student to learn from.

Every line of ``silver.jsonl`` is a post, in the order of the posts' file: with its entities, or with ``null`` where the
teachers disagree. A run that was cut off goes on after the last whole line.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from dpe_mner.checkpoints.loading import load_checkpoint
from dpe_mner.data.dataset import file_sha256, read_posts
from dpe_mner.data.words import words_of
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import PredictionOptions, chunks
from dpe_mner.training.recipe import Recipe
from dpe_mner.training.sources import Log, text_share
from dpe_mner.types import LabelledSpan, Post

SILVER, SILVER_CARD = "silver.jsonl", "silver.json"
_CHUNK = 1024  # posts labelled by every teacher before their lines are written


@dataclass(frozen=True)
class Silver:
    """Posts with silver labels, and how many there were to label."""

    posts: list[Post]
    read: int


def silver_posts(
    recipe: Recipe, labels: Sequence[str], conventions: Sequence[str], weights: Sequence[float], *, log: Log
) -> Silver:
    """Label the recipe's unlabelled posts with its teachers, or take what an earlier run has written.

    Args:
        recipe: With teachers and ``data.unlabelled``.
        labels: Entity types of the student; every teacher must have the same.
        conventions: Annotation conventions of the student, each of which a part of the posts is labelled by.
        weights: Size of each of these parts.
        log: Receives a line when the labels are there.

    Raises:
        InputError: If posts or teachers are missing, or the teachers have other labels or conventions.
    """
    path = recipe.data.path(recipe.data.unlabelled)
    assert path is not None
    teachers = [_teacher(name, labels, conventions) for name in recipe.teachers]
    output = Path(recipe.output)
    output.mkdir(parents=True, exist_ok=True)
    card = _card(recipe, path)
    done = _labelled_before(output, card)
    posts = [_conventional(post, conventions, weights) for post in read_unlabelled(path, recipe.silver.posts)]
    if not posts:
        raise InputError(f"{path}: holds no post to label")
    with (output / SILVER).open("a", encoding="utf-8") as stream:
        for chunk in chunks(posts[done:], _CHUNK):
            for line in _lines(chunk, teachers, recipe):
                stream.write(line)
            stream.flush()
    lines = (output / SILVER).read_text(encoding="utf-8").splitlines()
    told = [_labelled(post, line) for post, line in zip(posts, lines, strict=True)]
    kept = [post for post in told if post is not None]
    found = sum(len(post.entities or ()) for post in kept)
    log(f"{len(teachers)} teachers agree on {len(kept)} of {len(posts)} posts, {found} entities: {output / SILVER}")
    return Silver(kept, len(posts))


def read_unlabelled(path: str, most: int | None = None) -> list[Post]:
    """Posts of a JSONL or CoNLL file, or of a file with a text a line; labels they bring are not looked at.

    Raises:
        InputError: If the file is missing.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            first = stream.readline()
            if path.endswith((".jsonl", ".json", ".ndjson")) or first.startswith("IMGID:"):
                posts: Iterable[Post] = read_posts(path, [])
            else:
                stream.seek(0)
                posts = [Post(id=str(number), text=line.strip()) for number, line in enumerate(stream, start=1)]
            told = [replace(post, entities=None) for post in posts if post.text or post.words]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give unlabelled posts") from None
    return told[:most]


def agreed(answers: Sequence[Iterable[tuple[int, int, str]]], agreement: float) -> list[tuple[int, int, str]] | None:
    """Entities that enough teachers found; None when some entity is neither found nor missed by enough of them.

    >>> agreed([{(0, 5, "PER")}, {(0, 5, "PER")}, set()], agreement=0.6)
    [(0, 5, 'PER')]
    >>> agreed([{(0, 5, "PER")}, {(0, 5, "PER")}, set()], agreement=1.0) is None
    True
    """
    votes = Counter(span for spans in answers for span in set(spans))
    shares = {span: count / len(answers) for span, count in votes.items()}
    if any(1 - agreement + 1e-9 < share < agreement - 1e-9 for share in shares.values()):
        return None
    chosen = sorted(span for span, share in shares.items() if share >= agreement - 1e-9)
    if any(one[1] > other[0] for one, other in pairwise(chosen)):
        return None
    return chosen


def _teacher(name: str, labels: Sequence[str], conventions: Sequence[str]) -> DPEMNERModel:
    teacher = load_checkpoint(DPEMNERModel, name)
    if set(teacher.labels) != set(labels):
        raise InputError(
            f"teacher {name}: knows {', '.join(teacher.labels)}, the student {', '.join(labels)}; teachers and student "
            "need the same labels"
        )
    missing = [convention for convention in conventions if convention not in teacher.conventions]
    if missing:
        raise InputError(
            f"teacher {name}: has no convention {', '.join(missing)}, only {', '.join(teacher.conventions) or 'one'}; "
            "teachers and student need the same sources"
        )
    return teacher


def _card(recipe: Recipe, path: str) -> dict[str, Any]:
    """What silver labels depend on."""
    teachers = {}
    for name in recipe.teachers:
        weights = Path(name) / "model.safetensors"
        teachers[name] = file_sha256(str(weights)) if weights.is_file() else None
    return {"posts": file_sha256(path), "teachers": teachers, "silver": recipe.silver.model_dump(exclude={"share"})}


def _labelled_before(output: Path, card: dict[str, Any]) -> int:
    """Posts that an earlier run labelled; its last line is cut off when it is torn."""
    silver, told = output / SILVER, output / SILVER_CARD
    if not silver.exists():
        write_whole(told, json.dumps(card, indent=2) + "\n")
        return 0
    try:
        before = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before != card:
        raise InputError(
            f"{silver}: was made by other teachers or of other posts; delete it, or choose another --output"
        )
    content = silver.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(silver, len(whole))
    return whole.count(b"\n")


def _conventional(post: Post, conventions: Sequence[str], weights: Sequence[float]) -> Post:
    """The post with the convention that its text draws."""
    if len(conventions) < 2:
        return post
    place = float(hashlib.sha256(f"{text_share(post)}".encode()).digest()[0]) / 256 * sum(weights)
    for convention, weight in zip(conventions, weights, strict=True):
        place -= weight
        if place < 0:
            return replace(post, convention=convention)
    return replace(post, convention=conventions[-1])


def _lines(posts: list[Post], teachers: Sequence[DPEMNERModel], recipe: Recipe) -> Iterator[str]:
    options = PredictionOptions(batch_size=recipe.training.eval_batch_size)
    answers = [[result.entities for result in teacher.predictions(posts, options)] for teacher in teachers]
    for k, post in enumerate(posts):
        found = [{(e.start, e.end, e.label) for e in of_teacher[k]} for of_teacher in answers]
        spans = agreed(found, recipe.silver.agreement)
        entities = None if spans is None else [{"start": s, "end": e, "label": label} for s, e, label in spans]
        yield json.dumps({"id": post.id, "convention": post.convention, "entities": entities}) + "\n"


def _labelled(post: Post, line: str) -> Post | None:
    told = json.loads(line)
    if told["entities"] is None or not len(words_of(post)):
        return None
    spans = tuple(LabelledSpan(**entity) for entity in told["entities"])
    return replace(post, text=words_of(post).text, words=None, entities=spans)
