"""What users may pass to ``predict``, brought to posts; and the progress bar of long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import TypeVar

from dpe_mner.errors import InputError
from dpe_mner.types import ImageLike, Post

PostLike = str | Sequence[str] | Post
"""One of several posts: a text, a list of words, or a Post."""
T = TypeVar("T")
_WANTED = "a post is a text or a Post, several are a list of those"
_PATIENCE = 2.0  # seconds of work before a bar appears


def as_posts(
    post: str | Post | Iterable[PostLike],
    *,
    image: ImageLike | None = None,
    caption: str | None = None,
    tags: Sequence[str] | None = None,
) -> tuple[Iterable[Post], bool]:
    """Posts to predict, and whether a single one was meant: a text or a ``Post``, and nothing else, is one.

    Raises:
        InputError: If ``image``, ``caption`` or ``tags`` come with several posts, or an item is no post.
    """
    given = image is not None or caption is not None or tags is not None
    if isinstance(post, str | Post):
        one = _one(post)
        if given:
            one = replace(
                one,
                image=image if image is not None else one.image,
                caption=caption if caption is not None else one.caption,
                tags=tags if tags is not None else one.tags,
            )
        return [one], True
    posts = _several(post)
    if given:
        raise InputError(
            "image, caption and tags belong to one post, a text or Post(words=[...]); give each of several its own Post"
        )
    return (list(posts) if isinstance(post, Sized) else posts), False


def _several(post: object) -> Iterator[Post]:
    kind = type(post).__name__
    if isinstance(post, Mapping):
        raise InputError(f"{_WANTED}, not a {kind}; write predict(Post(text=..., caption=..., tags=[...]))")
    if is_table(post):
        from dpe_mner.data.table import posts_of_table

        return posts_of_table(post)  # type: ignore[arg-type]
    if hasattr(post, "columns") or hasattr(post, "column_names"):  # of pandas, polars, pyarrow
        raise InputError(f"a {kind} is a table; give the column with the texts: predict(list(table['text']))")
    if isinstance(post, set | frozenset):
        raise InputError(f"a {kind} has no order that answers could follow; write predict(list(texts))")
    if isinstance(post, bytes | bytearray | memoryview):
        raise InputError(f"a post is a text, not {kind}; write predict(data.decode('utf-8'))")
    if not isinstance(post, Iterable):
        raise InputError(f"{_WANTED}, not {kind}; write predict('Kevin in Paris') or predict(['a text', 'another'])")
    try:
        items = iter(post)
    except TypeError:  # an array of no dimension
        raise InputError(f"{_WANTED}, not a {kind} without a length; write predict(str(text))") from None
    return map(_one, items)


def is_table(value: object) -> bool:
    """Whether this is a ``datasets.Dataset`` or ``IterableDataset``: it has columns, and features that type them."""
    return hasattr(value, "features") and hasattr(value, "column_names") and not isinstance(value, Mapping)


def _one(item: object) -> Post:
    if isinstance(item, Post):
        return item
    if isinstance(item, str):
        return Post(text=item)
    kind = type(item).__name__
    if isinstance(item, Mapping):
        raise InputError(
            f"a post is a text, a list of words or a Post, not a {kind}; "
            "write predict([Post(text=row['text']) for row in rows])"
        )
    if isinstance(item, bytes | bytearray | memoryview):
        raise InputError(f"a post is a text, not {kind}; write predict([data.decode('utf-8') for data in texts])")
    if isinstance(item, Iterable) and not isinstance(item, set | frozenset) and not hasattr(item, "columns"):
        try:
            return Post(words=tuple(item))
        except TypeError:  # an array of no dimension
            pass
        except InputError as error:
            raise InputError(f"a post is a text, a list of words or a Post; {error}") from None
    hint = "; leave out what is missing" if item is None or item != item else ""
    raise InputError(
        f"a post is a text, a list of words or a Post, not {kind}{hint}; write predict(['a text', 'another'])"
    )


def with_progress(results: Iterable[T], posts: Iterable[Post], *, quiet: bool = False) -> Iterator[T]:
    """Pass results on; show a bar on stderr when it is a terminal and the work lasts."""
    if quiet or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = len(posts) if isinstance(posts, Sized) else None
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=total == 1) as bar:
        task = bar.add_task("", total=total, visible=False)
        for result in results:
            bar.update(task, advance=1, visible=time.monotonic() - started > _PATIENCE)
            yield result
