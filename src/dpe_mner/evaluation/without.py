"""The same posts with something taken away, to see what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dpe_mner.errors import InputError, nearest
from dpe_mner.types import Post

WITHOUT = ("pictures", "captions", "all")


def check_without(what: str) -> None:
    """Refuse what cannot be taken away.

    Raises:
        InputError: Naming what can.
    """
    if what not in WITHOUT:
        raise InputError(f"--against-without {what!r}{nearest(what, WITHOUT)}: choose {', '.join(WITHOUT)}")


def without(posts: Sequence[Post], what: str, *, reads_pictures: bool) -> list[Post]:
    """Posts without ``pictures`` (nor what would be made of them), ``captions`` (and tags), or ``all`` of it.

    Args:
        posts: As given.
        what: One of :data:`WITHOUT`.
        reads_pictures: Whether the model makes anything of a picture.

    Raises:
        InputError: If there is nothing to take away.
    """
    check_without(what)
    pictures = reads_pictures and any(post.image is not None for post in posts)
    told = any(post.caption or post.tags for post in posts)
    # With pictures at hand captions may be made of them, and an empty one of the post's own prevents that.
    there = {"pictures": pictures, "captions": told or pictures, "all": told or pictures}[what]
    if not there:
        why = (
            "this model reads no pictures; see --picture-model"
            if what == "pictures" and not reads_pictures
            else "the posts have none; see --visual-text and --images"
        )
        raise InputError(f"--against-without {what}: nothing would change: {why}")
    if what == "pictures":
        return [replace(post, image=None) for post in posts]
    if what == "captions":
        return [replace(post, caption="", tags=()) for post in posts]
    return [replace(post, image=None, caption=None, tags=None) for post in posts]
