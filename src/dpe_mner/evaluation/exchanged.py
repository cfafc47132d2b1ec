"""The same posts with another post's caption, tags or picture: what the own ones are worth.

Taking them away is a weaker control: a model without vision also runs through fewer layers. Here every post keeps as
much vision as it had, only not its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dpe_mner.errors import InputError, nearest
from dpe_mner.pictures.opening import PictureError, read_bytes
from dpe_mner.types import ImageLike, Post

PARTS = ("captions", "tags", "pictures")
EXCHANGED = (*PARTS, "all")
_FIELD = {"captions": "caption", "tags": "tags", "pictures": "image"}


def check_exchanged(what: str) -> None:
    """Refuse what cannot be exchanged.

    Raises:
        InputError: Naming what can.
    """
    if what not in EXCHANGED:
        raise InputError(f"--against-exchanged {what!r}{nearest(what, EXCHANGED)}: choose {', '.join(EXCHANGED)}")


def exchanged(posts: Sequence[Post], what: str, *, seed: int = 0, reads_pictures: bool = True) -> list[Post]:
    """Posts of which each that has the part holds another post's, never its own nor one that reads the same.

    Args:
        posts: As given.
        what: One of :data:`PARTS`; ``all`` exchanges each of them that can be, one independently of the other.
        seed: Of the exchange.
        reads_pictures: Whether the model makes anything of a picture; if not, they are left where they are.

    Returns:
        In the same order; posts without the part are as they were.

    Raises:
        InputError: If there are no two different ones to exchange.
    """
    check_exchanged(what)
    if what == "pictures" and not reads_pictures:
        raise InputError("--against-exchanged pictures: this model reads no pictures; see --picture-model")
    if what == "all":
        parts = exchangeable(posts, reads_pictures=reads_pictures)
        if not parts:
            raise InputError(f"--against-exchanged all: {_why_not(posts, _parts(reads_pictures=reads_pictures))}")
        mixed = list(posts)
        for part in parts:
            mixed = exchanged(mixed, part, seed=seed)
        return mixed
    field = _FIELD[what]
    having = [k for k, post in enumerate(posts) if _content(post, what) is not None]
    givers = derangement([_content(posts[k], what) for k in having], seed=seed)
    if givers is None:
        raise InputError(f"--against-exchanged {what}: {_why_not(posts, (what,))}")
    mixed = list(posts)
    for k, giver in zip(having, givers, strict=True):
        given: dict[str, Any] = {field: getattr(posts[having[giver]], field)}
        mixed[k] = replace(posts[k], **given)
    return mixed


def exchangeable(posts: Sequence[Post], *, reads_pictures: bool = True) -> list[str]:
    """The parts of which at least two posts have different ones.

    Args:
        posts: As given.
        reads_pictures: Whether the model makes anything of a picture.
    """
    parts = _parts(reads_pictures=reads_pictures)
    return [part for part in parts if len({_content(post, part) for post in posts} - {None}) > 1]


def derangement(contents: Sequence[Hashable], *, seed: int = 0) -> list[int] | None:
    """For each place another place whose content differs.

    Everything is given once, in an order drawn from ``seed``. Only where one content fills more than half of the
    places, which no such order can serve, some are given several times.

    Args:
        contents: Of each place.
        seed: Of the draw.

    Returns:
        The place that gives, for each place; None when all contents are the same.
    """
    groups: dict[Hashable, list[int]] = {}
    for place in np.random.default_rng(seed).permutation(len(contents)).tolist():
        groups.setdefault(contents[place], []).append(place)
    if len(groups) < 2:
        return None
    # Like contents side by side, moved on by the size of the largest group: nobody meets the own group again.
    largest = max(groups.values(), key=len)
    order = [place for group in groups.values() if group is not largest for place in group]
    givers = [0] * len(contents)
    if len(largest) > len(order):
        for k, place in enumerate(largest):
            givers[place] = order[k % len(order)]
        for k, place in enumerate(order):
            givers[place] = largest[k]
        return givers
    order += largest
    for k, place in enumerate(order):
        givers[place] = order[(k + len(largest)) % len(order)]
    return givers


def _parts(*, reads_pictures: bool) -> tuple[str, ...]:
    return PARTS if reads_pictures else PARTS[:-1]


def _content(post: Post, what: str) -> Hashable | None:
    """What makes two parts the same: words and case aside from spacing, tags in any order, a picture's bytes."""
    if what == "captions":
        return " ".join((post.caption or "").split()).casefold() or None
    if what == "tags":
        return tuple(sorted(tag.casefold() for tag in post.tags or ())) or None
    return None if post.image is None else _picture_content(post.image)


def _picture_content(image: ImageLike) -> Hashable:
    """Bytes where they can be read, else the name: a store may hold a picture that is not on this machine."""
    if isinstance(image, str | os.PathLike | bytes | bytearray | memoryview):
        try:
            return hashlib.sha256(read_bytes(image)).hexdigest()
        except PictureError:
            return os.fspath(image) if isinstance(image, str | os.PathLike) else bytes(image)
    pixels = np.asarray(image)
    return pixels.shape, hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _why_not(posts: Sequence[Post], parts: Sequence[str]) -> str:
    """Why none of the parts can be exchanged, and what to do."""
    having = {part: sum(_content(post, part) is not None for post in posts) for part in parts}
    part, most = max(having.items(), key=lambda row: row[1])
    bring = {"captions": "--visual-text", "tags": "--visual-text", "pictures": "--images"}
    if most == 0:
        options = " and ".join(dict.fromkeys(bring[one] for one in parts))
        return f"no post has any{' of it' if len(parts) > 1 else ''}; give them with {options}"
    if most == 1:
        return f"only one post has {part}; at least two are needed"
    return f"all {part} are the same; at least two different ones are needed"
