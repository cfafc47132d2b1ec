"""Labelled posts to show before the one that is asked for: the same for all posts, or the nearest of each."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

from dpe_mner.data.words import words_of
from dpe_mner.types import Post


class Examples(Protocol):
    """Gives the examples of a post."""

    def of(self, post: Post) -> list[Post]:
        """In the order in which they are shown; never the post itself."""


class NoExamples:
    """Zero-shot."""

    def of(self, post: Post) -> list[Post]:
        """None."""
        return []


class SameExamples:
    """The same few for every post, so that together they show every type.

    Args:
        pool: Labelled posts to choose from.
        count: How many are shown.
        generator: Shuffles the pool; of posts that show as many new types, the first is taken.
    """

    def __init__(self, pool: Sequence[Post], count: int, generator: random.Random) -> None:
        self.count = count
        left = list(pool)
        generator.shuffle(left)
        self._chosen: list[Post] = []
        shown: Counter[str] = Counter()
        while left and len(self._chosen) <= count:  # one in reserve, for a post that is an example itself
            least = min((shown[label] for post in pool for label in _types(post)), default=0)
            best = max(left, key=lambda post: sum(shown[label] == least for label in _types(post)))
            left.remove(best)
            self._chosen.append(best)
            shown.update(_types(best))

    def of(self, post: Post) -> list[Post]:
        """The chosen ones but the post itself."""
        text = words_of(post).text
        return [example for example in self._chosen if words_of(example).text != text][: self.count]


class NearestExamples:
    """Those whose words are most like the post's: cosine of TF-IDF, the nearest last, next to the post.

    Weights are those of scikit-learn's ``TfidfVectorizer``: count times ``ln((1 + n) / (1 + df)) + 1``, scaled to
    length 1, over lower-cased words that hold a letter or digit.

    Args:
        pool: Labelled posts to choose from.
        count: How many are shown.
    """

    def __init__(self, pool: Sequence[Post], count: int) -> None:
        self.pool, self.count = list(pool), count
        self._texts = [words_of(post).text for post in self.pool]
        counts = [Counter(terms_of(post)) for post in self.pool]
        frequency = Counter(term for post in counts for term in post)
        self._rarity = {term: math.log((1 + len(counts)) / (1 + df)) + 1 for term, df in frequency.items()}
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for k, post in enumerate(counts):
            for term, weight in self._weights(post).items():
                self._postings[term].append((k, weight))

    def of(self, post: Post) -> list[Post]:
        """The nearest others; of equally near ones those that come first in the pool."""
        near, text = self.similarities(post), words_of(post).text
        others = (k for k, other in enumerate(self._texts) if other != text)
        best = heapq.nsmallest(self.count, others, key=lambda k: (-near[k], k))
        return [self.pool[k] for k in reversed(best)]

    def similarities(self, post: Post) -> list[float]:
        """Cosine with every post of the pool, from 0 to 1."""
        near = [0.0] * len(self.pool)
        for term, weight in self._weights(Counter(terms_of(post))).items():
            for k, other in self._postings[term]:
                near[k] += weight * other
        return near

    def _weights(self, counts: Counter[str]) -> dict[str, float]:
        weights = {term: n * self._rarity[term] for term, n in counts.items() if term in self._rarity}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {term: weight / length for term, weight in weights.items()}


def terms_of(post: Post) -> list[str]:
    """Lower-cased words that hold a letter or digit."""
    return [word.lower() for word in words_of(post).words if any(map(str.isalnum, word))]


def _types(post: Post) -> set[str]:
    return {entity.label for entity in post.entities or ()}
