"""What is wrong with a data set, found before training does: each finding with file and line."""

from __future__ import annotations

import difflib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import Dataset, load_dataset
from dpe_mner.data.gold import read_gold
from dpe_mner.data.labels import LabelRules
from dpe_mner.data.source import Problem
from dpe_mner.data.words import split_text, words_of
from dpe_mner.errors import InputError
from dpe_mner.types import ImageLike, LabelledSpan, Post

_RARE = 0.02  # a label this rare that looks like a frequent one is taken for a typing slip


def check_dataset(
    path: str | os.PathLike[str],
    *,
    visual_text: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    against: str | os.PathLike[str] | None = None,
    columns: Columns | None = None,
    labelled: bool = True,
    fetch_urls: bool = False,
    labels: LabelRules | None = None,
) -> tuple[Dataset, list[Problem]]:
    """Check a data set.

    Args:
        path: CoNLL or JSONL.
        visual_text: Captions and tags to join.
        images: Folder of pictures.
        against: Another split, whose posts must not occur here. ``visual_text`` may hold what belongs to them too.
        columns: Which columns of CoNLL hold word and tag.
        labelled: It is to be trained on or scored by: posts without labels are findings.
        fetch_urls: Download pictures given as URLs to look at them; else that they are URLs is a finding.
        labels: What becomes of the labels before they are looked at.

    Returns:
        The data set and all findings, in file order by kind.

    Raises:
        InputError: If a file is missing or empty.
    """
    data = load_dataset(path, visual_text=visual_text, images=images, columns=columns, labels=labels)
    problems = list(data.problems)
    problems += _duplicates(data)
    if labelled:
        problems += _unlabelled(data)
    problems += _labels(data)
    problems += _spans(data)
    other = None if against is None else load_dataset(against, visual_text=visual_text, columns=columns)
    problems += _orphan_visual_text(data, other)
    problems += _pictures(data, fetch_urls=fetch_urls)
    if other is not None:
        problems += _leakage(data, other)
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


def _unlabelled(data: Dataset) -> Iterator[Problem]:
    bare = [post for post in data.posts if post.entities is None]
    if not data.labels:
        without = "no post has labels" if len(bare) == len(data.posts) else "not one entity is labelled"
        yield Problem(data.path, 0, "no-labels", f"{without}; add them, or check posts to predict on with --unlabelled")
        return
    for post in bare:
        yield _at(data, post, "unlabelled", f"post {post.id!r} has no labels; training and scoring refuse the file")


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
        if post.text is not None and entities:
            yield from _ends(data, post, entities)


def _ends(data: Dataset, post: Post, entities: Iterable[LabelledSpan]) -> Iterator[Problem]:
    """Entities that do not begin and end with a word."""
    assert post.text is not None
    words = words_of(post)
    starts, ends = set(words.starts), set(words.ends)
    for entity in entities:
        shown = f"entity {entity.start}-{entity.end} {entity.label} {post.text[entity.start : entity.end]!r}"
        gold = read_gold(replace(post, entities=(entity,)), words)
        if gold.wordless:
            yield _at(data, post, "no-word", f"{shown} holds no word; it is left out")
        elif gold.widened:
            yield _at(data, post, "cuts-word", f"{shown} cuts a word; it is read as the whole word")
        elif entity.start not in starts or entity.end not in ends:
            yield _at(data, post, "white-space", f"{shown} begins or ends with white space; it is read without it")


def _orphan_visual_text(data: Dataset, other: Dataset | None) -> Iterator[Problem]:
    """What joins no post of this split, nor of the other one: a corpus has one file of captions for both."""
    visual = data.visual
    elsewhere = set() if other is None else other.visual.used
    if visual.path and not visual.used:
        yield Problem(visual.path, 0, "nothing-joined", visual.summary.removeprefix(f"{visual.path}: "))
    for identifier in visual.orphans:
        if identifier in elsewhere:
            continue
        line = visual.found[identifier].line
        yield Problem(visual.path, line, "visual-text-without-post", f"no post has the id {identifier!r}")


def _pictures(data: Dataset, *, fetch_urls: bool) -> Iterator[Problem]:
    for post in data.posts:
        if post.image is None:
            continue
        reason = _unreadable(post.image, fetch_urls=fetch_urls)
        if reason is not None:
            yield _at(data, post, "picture", f"{os.fspath(post.image)}: {reason}")  # type: ignore[arg-type]


def _unreadable(picture: ImageLike, *, fetch_urls: bool) -> str | None:
    """Why a prediction would go without a picture; opened as a prediction opens it."""
    from dpe_mner.pictures.opening import PictureError, open_picture, read_bytes

    try:
        try:
            open_picture(picture, fetch_urls=fetch_urls)
        except InputError:  # without Pillow only the beginning of the file can be looked at
            known = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
            return None if read_bytes(picture, fetch_urls=fetch_urls).startswith(known) else "not a picture"
    except PictureError as error:
        return str(error)
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
