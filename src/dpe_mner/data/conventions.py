"""Annotation conventions: corpora differ in what they call an entity, and a model may know several of their ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from dpe_mner.errors import InputError, nearest
from dpe_mner.types import Post


def convention_number(name: str | None, known: Sequence[str]) -> int:
    """Place of a convention among a model's; the first is its default.

    Args:
        name: As asked for; None is the default.
        known: A model's conventions; empty when it was trained on one corpus.

    Raises:
        InputError: If the model does not know it.
    """
    if name is None:
        return 0
    if name in known:
        return list(known).index(name)
    if not known:
        raise InputError(f"convention {name!r}: this model was trained on one corpus and has no choice; leave it out")
    raise InputError(f"convention {name!r}: unknown{nearest(name, known)}; this model has {', '.join(known)}")


def with_convention(posts: Iterable[Post], name: str | None) -> Iterator[Post]:
    """Posts that name no convention of their own get this one."""
    for post in posts:
        yield post if name is None or post.convention is not None else replace(post, convention=name)
