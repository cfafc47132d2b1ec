"""What is wrong with a data set, found before training does: each finding with file and line."""

from __future__ import annotations

import difflib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from dpe_mner.data.dataset import Dataset, load_dataset, picture_by_id
from dpe_mner.data.gold import gold_characters
from dpe_mner.data.jsonl import read_visual_text
from dpe_mner.data.labels import LabelRules
from dpe_mner.data.source import Problem
from dpe_mner.data.words import split_text, words_of
from dpe_mner.types import Post

_RARE = 0.02  # a label this rare that looks like a frequent one is taken for a typing slip


def check_dataset(
    path: str | os.PathLike[str],
    *,
    visual_text: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    against: str | os.PathLike[str] | None = None,
    labels: LabelRules | None = None,
) -> tuple[Dataset, list[Problem]]:
    """Check a data set.

    Args:
        path: CoNLL or JSONL.
        visual_text: Captions and tags to join.
        images: Folder of pictures.
        against: Another split, whose posts must not occur here.
        labels: What becomes of the labels before they are looked at.

    Returns:
        The data set and all findings, in file order by kind.

    Raises:
        InputError: If a file is missing or empty.
    """
    data = load_dataset(path, visual_text=visual_text, images=images, labels=labels)
    problems = list(data.problems)
    problems += _duplicates(data)
    problems += _labels(data)
    problems += _spans(data)
    if visual_text is not None:
        problems += _orphan_visual_text(data, visual_text)
    problems += _pictures(data, Path(images) if images is not None else None)
    if against is not None:
        problems += _leakage(data, load_dataset(against))
    return data, problems


def _at(data: Dataset, post: Post, kind: str, message: str) -> Problem:
    return Problem(data.path, post.line, kind, message)


def _duplicates(data: Dataset) -> Iterator[Problem]:
    first: dict[str, int] = {}
    texts: dict[str, Post] = {}
    for post in data.posts:
        if post.id in first:
            yield _at(data, post, "duplicate-id", f"id {post.id!r} was used at line {first[post.id]}; give it its own")
        first.setdefault(post.id, post.line)
        text = _normal(post)
        if text in texts:
            yield _at(
                data, post, "duplicate-text", f"the same text as post {texts[text].id!r} at line {texts[text].line}"
            )
        texts.setdefault(text, post)


def _labels(data: Dataset) -> Iterator[Problem]:
    counts = Counter(e.label for post in data.posts for e in post.entities or ())
    total = counts.total()
    frequent = [label for label, n in counts.items() if n > _RARE * total]
    slips: dict[str, str] = {}
    for label in set(counts) - set(frequent):
        folded = {known.lower(): known for known in frequent}
        match = difflib.get_close_matches(label.lower(), folded, n=1, cutoff=0.6)
        if match:
            slips[label] = folded[match[0]]
    for post in data.posts:
        for entity in post.entities or ():
            if entity.label in slips:
                yield _at(data, post, "label-typo", f"label {entity.label!r} is rare; is it {slips[entity.label]!r}?")


def _spans(data: Dataset) -> Iterator[Problem]:
    for post in data.posts:
        entities = sorted(post.entities or (), key=lambda e: (e.start, e.end))
        for one, other in itertools.pairwise(entities):
            if other.start < one.end:
                yield _at(
                    data,
                    post,
                    "overlap",
                    f"entities {one.start}-{one.end} {one.label} and {other.start}-{other.end} {other.label} overlap; "
                    "only flat entities are learned",
                )
        if post.text is None or not entities:
            continue
        words = words_of(post)
        starts, ends = set(words.starts), set(words.ends)
        for start, end, label in sorted(gold_characters(post, words)):
            if start not in starts or end not in ends:
                yield _at(data, post, "cuts-word", f"entity {start}-{end} {label} {post.text[start:end]!r} cuts a word")


def _orphan_visual_text(data: Dataset, visual_text: str | os.PathLike[str]) -> Iterator[Problem]:
    known = {post.id for post in data.posts}
    name = os.fspath(visual_text)
    for identifier, entry in read_visual_text(visual_text, []).items():
        if identifier not in known:
            yield Problem(name, entry.line, "visual-text-without-post", f"no post has the id {identifier!r}")


def _pictures(data: Dataset, folder: Path | None) -> Iterator[Problem]:
    for post in data.posts:
        path = Path(str(post.image)) if post.image is not None else None
        if path is None and folder is not None:
            path = Path(picture_by_id(folder, post.id))
        if path is None or str(path).startswith(("http:", "https:")):
            continue
        reason = _unreadable(path)
        if reason is not None:
            yield _at(data, post, "picture", f"{path}: {reason}")


def _unreadable(path: Path) -> str | None:
    if not path.exists():
        return "missing"
    if not path.is_file():
        return "not a file"
    if path.stat().st_size == 0:
        return "empty"
    try:
        from PIL import Image
    except ImportError:  # without Pillow only the beginning of the file can be looked at
        head = path.open("rb").read(12)
        known = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"BM")
        return None if head.startswith(known) else "not a picture"
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception as error:  # Pillow raises many kinds for bad files, decompression bombs among them
        return f"cannot be decoded ({' '.join(str(error).split())[:120]})"
    return None


def _leakage(data: Dataset, other: Dataset) -> Iterator[Problem]:
    texts: dict[str, Post] = {}
    for post in other.posts:
        texts.setdefault(_normal(post), post)
    ids = {post.id for post in other.posts}
    for post in data.posts:
        same = texts.get(_normal(post))
        if same is not None:
            yield _at(
                data, post, "leakage", f"post {post.id!r} has the text of {same.id!r} in {other.path}:{same.line}"
            )
        elif post.id in ids:
            yield _at(data, post, "leakage", f"id {post.id!r} is also in {other.path}")


def _normal(post: Post) -> str:
    words: Iterable[str] = split_text(post.text).words if post.text is not None else post.words or ()
    return " ".join(word.lower() for word in words)


def count_by_kind(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Findings grouped by kind, in order of first appearance."""
    groups: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[problem.kind].append(problem)
    return dict(groups)
