"""A labelled data set from its files: posts, joined with visual text, labels mapped, hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from dpe_mner.data.addresses import address_kind
from dpe_mner.data.columns import Columns
from dpe_mner.data.conll import SAMPLE, read_conll
from dpe_mner.data.files import expand
from dpe_mner.data.joining import VisualJoin, picture_by_id
from dpe_mner.data.jsonl import read_posts_jsonl, read_visual_text
from dpe_mner.data.labels import LabelRules
from dpe_mner.data.recognise import JSON_ENDINGS, ending_of, is_json, refuse_binary, refuse_foreign
from dpe_mner.data.source import Problem, open_lines
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
        visual: The captions and tags that were joined, and those that were not.
    """

    path: str
    posts: list[Post]
    problems: list[Problem]
    sha256: str
    visual: VisualJoin = field(default_factory=VisualJoin, compare=False)

    @property
    def labels(self) -> list[str]:
        """Entity types in the data, most frequent first."""
        counts: dict[str, int] = {}
        for post in self.posts:
            for entity in post.entities or ():
                counts[entity.label] = counts.get(entity.label, 0) + 1
        return sorted(counts, key=lambda label: (-counts[label], label))


def read_posts(
    path: str | os.PathLike[str], problems: list[Problem], *, columns: Columns | None = None
) -> Iterator[Post]:
    """Posts of a JSON or CoNLL file, told apart by what is in it; its ending decides only where that does not.

    Args:
        path: The file, or ``-``.
        problems: Filled while reading.
        columns: Which columns of CoNLL hold word and tag.

    Raises:
        InputError: If it cannot be opened, or is neither.
    """
    name = os.fspath(path)
    live = name == "-" or is_special(name)  # somebody may be typing
    if not live:
        refuse_binary(name)
    lines = open_lines(path, problems)
    head = list(_until_content(lines) if live else islice(lines, SAMPLE))
    stream = chain(head, lines)
    ending = ending_of(name)
    if is_json(name, head):
        if name != "-" and ending and ending not in JSON_ENDINGS:
            message = f"holds JSON, though its name ends in {ending}; read as JSON, name it .jsonl"
            problems.append(Problem(name, 0, "wrong-ending", message))
        return read_posts_jsonl(path, problems, lines=stream)
    refuse_foreign(name, head, columns or Columns())
    if ending in JSON_ENDINGS:
        message = f"holds CoNLL, though its name ends in {ending}; read as CoNLL, name it .txt"
        problems.append(Problem(name, 0, "wrong-ending", message))
    return read_conll(path, problems, columns=columns, lines=stream, live=live)


def _until_content(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines up to the first that is not blank, all that can be waited for."""
    for number, line in lines:
        yield number, line
        if line.strip("\ufeff \t\r"):
            return


def load_dataset(
    path: str | os.PathLike[str],
    *,
    visual_text: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    columns: Columns | None = None,
    labels: LabelRules | None = None,
    read: Callable[[str, list[Problem]], Iterator[Post]] | None = None,
) -> Dataset:
    """Read a data set whole.

    Args:
        path: CoNLL or JSONL, or what ``read`` reads.
        visual_text: Captions and tags by image id; a post's own win.
        images: Folder that image paths are relative to; the file's own folder when not given.
        label_map: Old label to new, e.g. ``{"OTHER": "MISC"}``; short for ``labels`` with nothing else.
        columns: Which columns of CoNLL hold word and tag.
        labels: What becomes of the labels; afterwards they know which of them were met.
        read: Reads the posts of another tool's file, filling a list of problems.

    Returns:
        The posts and their problems.

    Raises:
        InputError: If a file is missing or holds no post.
    """
    problems: list[Problem] = []
    name = expand(path)
    if os.path.isdir(name):
        refuse_binary(name)
        raise InputError(f"{name}: is a folder; give a CoNLL or JSONL file")
    posts = list(read_posts(name, problems, columns=columns) if read is None else read(name, problems))
    problems.sort(key=lambda problem: problem.line)  # the first lines were looked at before they were read
    if not posts:
        first = f" ({problems[0]})" if problems else ""
        raise InputError(f"{name}: holds no post{first}; expected lines of a word and its tag, or JSON")
    visual = read_visual_join(visual_text, problems)
    folder = Path(expand(images)) if images is not None else Path(name).parent
    rules = labels if labels is not None else LabelRules(label_map)
    posts = [rules(complete(post, visual=visual, folder=folder, by_id=images is not None)) for post in posts]
    sha256 = "" if is_special(name) else file_sha256(name)
    return Dataset(path=name, posts=posts, problems=problems, sha256=sha256, visual=visual)


def read_visual_join(path: str | os.PathLike[str] | None, problems: list[Problem]) -> VisualJoin:
    """Captions and tags of a file, to be joined to posts; none when there is no file."""
    if path is None:
        return VisualJoin()
    return VisualJoin(read_visual_text(path, problems), path=os.fspath(path))


def file_sha256(path: str) -> str:
    """SHA-256 of a file's bytes, empty for standard input."""
    if path == "-":
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def complete(
    post: Post,
    *,
    visual: VisualJoin,
    folder: Path,
    by_id: bool = False,
) -> Post:
    """A post with its visual text joined, and its picture's path made whole.

    Args:
        post: As read.
        visual: Captions and tags to join.
        folder: Image paths are relative to it.
        by_id: Take the picture named after the post's id where the post names none.
    """
    seen = visual.of(post)
    image = post.image
    if isinstance(image, str | os.PathLike) and address_kind(image) is None:
        image = str(folder / expand(image))
    if image is None and by_id:
        image = picture_by_id(folder, post.id)
    return replace(
        post,
        caption=post.caption if post.caption is not None else seen.caption,
        tags=post.tags if post.tags is not None else seen.tags,
        image=image,
    )
