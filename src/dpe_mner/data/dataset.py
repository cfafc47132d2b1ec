"""A labelled data set from its files: posts, joined with visual text, labels mapped, hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dpe_mner.data.conll import read_conll
from dpe_mner.data.files import Opened, bare_ending, expand
from dpe_mner.data.jsonl import VisualText, read_posts_jsonl, read_visual_text
from dpe_mner.data.labels import LabelRules
from dpe_mner.data.source import Problem
from dpe_mner.data.writing import is_special
from dpe_mner.errors import InputError
from dpe_mner.types import Post


@dataclass(frozen=True)
class Dataset:
    """Posts and where they came from.

    Attributes:
        path: The file.
        posts: In file order.
        problems: What the readers met.
        sha256: Of the file's bytes; every result names it, for label versions differ.
    """

    path: str
    posts: list[Post]
    problems: list[Problem]
    sha256: str

    @property
    def labels(self) -> list[str]:
        """Entity types in the data, most frequent first."""
        counts: dict[str, int] = {}
        for post in self.posts:
            for entity in post.entities or ():
                counts[entity.label] = counts.get(entity.label, 0) + 1
        return sorted(counts, key=lambda label: (-counts[label], label))


def read_posts(path: str | os.PathLike[str], problems: list[Problem]) -> Iterator[Post]:
    """Posts of a file by its format: ``.jsonl``/``.json`` is JSONL, everything else CoNLL, ``.gz`` and ``.zst`` aside.

    What has no name that tells, as ``-`` and pipes, is JSONL if it begins with a brace.
    """
    name = os.fspath(path)
    if bare_ending(name) in {".jsonl", ".json", ".ndjson"}:
        return read_posts_jsonl(path, problems)
    if name == "-" or is_special(name):
        return _read_unnamed(path, problems)
    return read_conll(path, problems)


def _read_unnamed(path: str | os.PathLike[str], problems: list[Problem]) -> Iterator[Post]:
    opened = Opened(path)
    yield from (read_posts_jsonl if opened.beginning().startswith(b"{") else read_conll)(opened, problems)


def load_dataset(
    path: str | os.PathLike[str],
    *,
    visual_text: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    labels: LabelRules | None = None,
) -> Dataset:
    """Read a data set whole.

    Args:
        path: CoNLL or JSONL.
        visual_text: Captions and tags by image id; a post's own win.
        images: Folder that image paths are relative to; the file's own folder when not given.
        label_map: Old label to new, e.g. ``{"OTHER": "MISC"}``; short for ``labels`` with nothing else.
        labels: What becomes of the labels; afterwards they know which of them were met.

    Returns:
        The posts and their problems.

    Raises:
        InputError: If a file is missing or holds no post.
    """
    problems: list[Problem] = []
    name = expand(path)
    if os.path.isdir(name):
        raise InputError(f"{name}: is a folder; give a CoNLL or JSONL file")
    posts = list(read_posts(name, problems))
    if not posts:
        first = f" ({problems[0]})" if problems else ""
        raise InputError(f"{name}: holds no post{first}; expected IMGID:/word<TAB>tag lines or JSONL")
    visual = read_visual_text(visual_text, problems) if visual_text is not None else {}
    folder = Path(expand(images)) if images is not None else Path(name).parent
    rules = labels if labels is not None else LabelRules(label_map)
    posts = [rules(complete(post, visual=visual, folder=folder, by_id=images is not None)) for post in posts]
    sha256 = "" if is_special(name) else file_sha256(name)
    return Dataset(path=name, posts=posts, problems=problems, sha256=sha256)


def file_sha256(path: str) -> str:
    """SHA-256 of a file's bytes, empty for standard input."""
    if path == "-":
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")


def picture_by_id(folder: Path, identifier: str) -> str:
    """The picture that is named after a post, as the Twitter2015 and Twitter2017 downloads name them."""
    candidates = [folder / f"{identifier}{ending}" for ending in PICTURE_ENDINGS]
    return str(next((path for path in candidates if path.exists()), candidates[0]))


def complete(
    post: Post,
    *,
    visual: Mapping[str, VisualText],
    folder: Path,
    by_id: bool = False,
) -> Post:
    """A post with its visual text joined, and its picture's path made whole.

    Args:
        post: As read.
        visual: Captions and tags by image id.
        folder: Image paths are relative to it.
        by_id: Take the picture named after the post's id where the post names none.
    """
    seen = visual.get(post.id, VisualText(None, None, 0))
    image = post.image
    if isinstance(image, str | os.PathLike) and not str(image).startswith(("http://", "https://")):
        image = str(folder / expand(image))
    if image is None and by_id:
        image = picture_by_id(folder, post.id)
    return replace(
        post,
        caption=post.caption if post.caption is not None else seen.caption,
        tags=post.tags if post.tags is not None else seen.tags,
        image=image,
    )
