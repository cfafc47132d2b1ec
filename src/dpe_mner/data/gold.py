"""Gold entities in the two units everything else needs: characters to score by, words to train on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from dpe_mner.data.words import Words, words_of
from dpe_mner.errors import InputError
from dpe_mner.types import Post

CharacterSpan = tuple[int, int, str]  # first character, character after the last, label
WordSpan = tuple[int, int, str]  # first word, last word, label


def gold_characters(post: Post, words: Words) -> set[CharacterSpan]:
    """Gold entities as characters of the post's text.

    Args:
        post: A labelled post.
        words: Its words.
    """
    if post.text is not None:
        return {(e.start, e.end, e.label) for e in post.entities or ()}
    return {(words.starts[e.start], words.ends[e.end - 1], e.label) for e in post.entities or ()}


def gold_of_posts(posts: Iterable[Post]) -> list[set[CharacterSpan]]:
    """:func:`gold_characters` of each post."""
    return [gold_characters(post, words_of(post)) for post in posts]


def without_types(post: Post, unannotated: Collection[str]) -> Post:
    """The post without gold entities of types that its annotation convention leaves out."""
    if post.entities is None or not any(entity.label in unannotated for entity in post.entities):
        return post
    return replace(post, entities=tuple(entity for entity in post.entities if entity.label not in unannotated))


def gold_words(post: Post, words: Words) -> list[WordSpan]:
    """Gold entities as inclusive word spans, without repeats; a span that cuts a word takes the whole word."""
    found: dict[WordSpan, None] = {}
    for entity in post.entities or ():
        first, last = entity.start, entity.end - 1
        if post.text is not None:
            first = bisect_right(words.ends, entity.start)
            last = bisect_left(words.starts, entity.end) - 1
        if 0 <= first <= last < len(words):
            found[(first, last, entity.label)] = None
    return list(found)


def check_labels(labels: Sequence[str], known: Sequence[str], *, where: str) -> None:
    """Refuse labels outside a model's.

    Raises:
        InputError: Naming them and what the model knows.
    """
    unknown = sorted(set(labels) - set(known))
    if unknown:
        raise InputError(
            f"{where}: labels {', '.join(unknown)} are unknown to the model (it knows {', '.join(known)}); "
            "map them with --label-map OLD=NEW"
        )
