"""Every error sorted into one kind, and counted by type, length, and whether training knew the entity.

Gold and predicted entities are paired one to one, best fit first: same span and type, then same span, then overlap
with the same type, then any overlap. Within a fit the pair that shares most characters comes first, then the one that
starts first. What is left over is missed or spurious: of two gold entities under one prediction one is missed, of two
predictions inside one gold entity one is spurious.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal, get_args

from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import Words, words_of
from dpe_mner.evaluation.score import Labelled
from dpe_mner.types import Post

Kind = Literal["correct", "boundary", "type", "both", "missed", "spurious"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LENGTHS = ("1", "2", "3", "4 or more")
Counts = Counter[Kind]


@dataclass(frozen=True)
class Outcome:
    """What became of a gold entity, or of a prediction without one.

    Attributes:
        kind: ``correct``; ``boundary`` (right type, other span that overlaps); ``type`` (same span, wrong type);
            ``both`` (overlaps, wrong type); ``missed`` (no prediction left for it); ``spurious`` (no gold left for it).
        gold: First character, character after the last, type; None when spurious.
        predicted: The same; None when missed.
        length: Of the gold entity in words; of the predicted one when spurious.
        seen: Whether training knew an entity of that text; None when no training data was given.
    """

    kind: Kind
    gold: Labelled | None
    predicted: Labelled | None
    length: int
    seen: bool | None = None

    @property
    def entity(self) -> Labelled:
        """The one it is counted by: gold, or predicted when spurious."""
        entity = self.gold if self.gold is not None else self.predicted
        assert entity is not None
        return entity


@dataclass(frozen=True)
class ErrorCounts:
    """How many of each kind.

    In every split correct + boundary + type + both + missed are the gold entities, and correct + boundary + type +
    both + spurious are as many as were predicted.

    Attributes:
        total: By kind.
        by_type: By type of the gold entity (of the predicted one when spurious), then kind.
        by_length: By length in words, one of :data:`LENGTHS`, then kind.
        by_seen: ``seen`` and ``unseen``, then kind; None when no training data was given.
        confusion: By gold and predicted type of each pair, whatever its spans; None stands for nothing.
    """

    total: Counts
    by_type: dict[str, Counts]
    by_length: dict[str, Counts]
    by_seen: dict[str, Counts] | None
    confusion: Counter[tuple[str | None, str | None]]


def pair_up(gold: Iterable[Labelled], predicted: Iterable[Labelled]) -> list[tuple[Labelled | None, Labelled | None]]:
    """Pair the entities of one post as the module says; each is in exactly one pair.

    Args:
        gold: Repeats count once.
        predicted: Repeats count once.

    Returns:
        Pairs in order of position, None for what has no partner.
    """
    golds, guesses = sorted(set(gold)), sorted(set(predicted))
    fits = [(_fit(g, p), g, p) for g in golds for p in guesses if _shared(g, p) > 0 or g[:2] == p[:2]]
    pairs: list[tuple[Labelled | None, Labelled | None]] = []
    free_gold, free_guesses = dict.fromkeys(golds), dict.fromkeys(guesses)
    for _, g, p in sorted(fits):
        if g in free_gold and p in free_guesses:
            pairs.append((g, p))
            del free_gold[g], free_guesses[p]
    pairs += [(g, None) for g in free_gold]
    pairs += [(None, p) for p in free_guesses]
    return sorted(pairs, key=lambda pair: (pair[0] or pair[1] or (0, 0, ""), pair[0] is None))


def _shared(g: Labelled, p: Labelled) -> int:
    return min(g[1], p[1]) - max(g[0], p[0])


def _fit(g: Labelled, p: Labelled) -> tuple[int, int]:
    same_span, same_type = g[:2] == p[:2], g[2] == p[2]
    return 0 if same_span and same_type else 1 if same_span else 2 if same_type else 3, -_shared(g, p)


def kind_of(gold: Labelled | None, predicted: Labelled | None) -> Kind:
    """The kind of a pair of :func:`pair_up`."""
    if gold is None:
        return "spurious"
    if predicted is None:
        return "missed"
    if gold[:2] == predicted[:2]:
        return "correct" if gold[2] == predicted[2] else "type"
    return "boundary" if gold[2] == predicted[2] else "both"


def outcomes_of(
    words: Words, gold: Iterable[Labelled], predicted: Iterable[Labelled], *, known: Set[str] | None = None
) -> list[Outcome]:
    """What became of every entity of one post.

    Args:
        words: Of the post.
        gold: In characters.
        predicted: In characters.
        known: From :func:`known_entities`.
    """
    found = []
    for pair in pair_up(gold, predicted):
        start, end, _ = pair[0] or pair[1] or (0, 0, "")
        length = bisect_left(words.starts, end) - bisect_right(words.ends, start)
        seen = None if known is None else surface(words.text[start:end]) in known
        found.append(Outcome(kind_of(*pair), *pair, length, seen))
    return found


def surface(text: str) -> str:
    """An entity's text to compare by: lower-cased, without white space, which data sets set differently."""
    return "".join(text.split()).lower()


def known_entities(posts: Iterable[Post]) -> frozenset[str]:
    """Surfaces of all gold entities of labelled posts."""
    found: set[str] = set()
    for post in posts:
        words = words_of(post)
        found.update(surface(words.text[start:end]) for start, end, _ in gold_characters(post, words))
    return frozenset(found)


def count_errors(outcomes: Sequence[Sequence[Outcome]]) -> ErrorCounts:
    """Count the outcomes of all posts.

    Args:
        outcomes: Of each post.

    Returns:
        Counts in every split; types by name, lengths and kinds in their order.
    """
    flat = [outcome for post in outcomes for outcome in post]
    labels = sorted({outcome.entity[2] for outcome in flat})
    total: Counts = Counter(outcome.kind for outcome in flat)
    by_type: dict[str, Counts] = {label: Counter() for label in labels}
    by_length: dict[str, Counts] = {length: Counter() for length in LENGTHS}
    by_seen: dict[str, Counts] = {"seen": Counter(), "unseen": Counter()}
    confusion: Counter[tuple[str | None, str | None]] = Counter()
    for outcome in flat:
        by_type[outcome.entity[2]][outcome.kind] += 1
        by_length[length_name(outcome.length)][outcome.kind] += 1
        if outcome.seen is not None:
            by_seen["seen" if outcome.seen else "unseen"][outcome.kind] += 1
        gold, predicted = outcome.gold, outcome.predicted
        confusion[gold[2] if gold else None, predicted[2] if predicted else None] += 1
    told = any(outcome.seen is not None for outcome in flat)
    return ErrorCounts(total, by_type, by_length, by_seen if told else None, confusion)


def length_name(length: int) -> str:
    """The row of :data:`LENGTHS` a length belongs to."""
    return LENGTHS[min(max(length, 1), len(LENGTHS)) - 1]
