"""Gold entities, read once for everybody: the words they cover to train on, and those words' characters to score by."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from dpe_mner.data.words import Words, words_of
from dpe_mner.errors import InputError
from dpe_mner.types import Post

CharacterSpan = tuple[int, int, str]  # first character, character after the last, label
WordSpan = tuple[int, int, str]  # first word, last word, label


@dataclass(frozen=True)
class Gold:
    """The gold entities of a post.

    Attributes:
        words: Inclusive word spans, without repeats.
        characters: The characters of those words.
        widened: Entities that cut a word, and are read as the whole word.
        wordless: Entities that hold no word, and are left out.
    """

    words: list[WordSpan]
    characters: set[CharacterSpan]
    widened: int = 0
    wordless: int = 0


def read_gold(post: Post, words: Words) -> Gold:
    """The gold entities of a post; white space around one is no part of it.

    A model finds whole words, so an entity is the words it touches, where it is trained on and where it is scored.

    Args:
        post: A labelled post.
        words: Its words.
    """
    found: dict[WordSpan, None] = {}
    widened = wordless = 0
    for entity in post.entities or ():
        first, last = entity.start, entity.end - 1
        if post.text is not None:
            first = bisect_right(words.ends, entity.start)
            last = bisect_left(words.starts, entity.end) - 1
        if not 0 <= first <= last < len(words):
            wordless += 1
            continue
        if post.text is not None:
            widened += words.starts[first] < entity.start or words.ends[last] > entity.end
        found[(first, last, entity.label)] = None
    characters = {(words.starts[first], words.ends[last], label) for first, last, label in found}
    return Gold(list(found), characters, widened, wordless)


def gold_characters(post: Post, words: Words) -> set[CharacterSpan]:
    """Gold entities as characters of the post's text: those of the words that :func:`gold_words` gives."""
    return read_gold(post, words).characters


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
    return read_gold(post, words).words


def gold_summary(posts: Iterable[Post]) -> str:
    """How many gold entities are not read as they stand; empty when all are."""
    read = [read_gold(post, words_of(post)) for post in posts if post.entities]
    widened, wordless = sum(gold.widened for gold in read), sum(gold.wordless for gold in read)
    parts = []
    if widened:
        parts.append(f"{widened} cut a word and are read as the whole word")
    if wordless:
        parts.append(f"{wordless} hold no word and are left out")
    return f"gold entities: {'; '.join(parts)} ('dpe-mner check-data' names them)" if parts else ""


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
