"""K posts that are worth labelling and unlike one another, from a stream of any length."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dpe_mner.data.words import words_of
from dpe_mner.suggest.uncertainty import Uncertain

_POOL, _LEAST_POOL = 20, 1000  # posts held, for each one wanted and at least


def most_worth(stream: Iterable[Uncertain], count: int) -> list[Uncertain]:
    """The posts to label, the most useful first.

    Held in memory are only the posts that the model is least sure of, twenty for each one wanted. Of these the next is
    always the one with the largest expected errors times how unlike it is to every post chosen before: 1 less the
    cosine of their words, rare words weighing more. So of a post that was sent a hundred times one is taken.

    Args:
        stream: All posts.
        count: K.

    Returns:
        At most K; fewer where there are fewer posts with anything in question.
    """
    size = max(_POOL * count, _LEAST_POOL)
    heap: list[tuple[float, int, Uncertain]] = []
    for number, one in enumerate(stream):
        entry = (one.expected_errors, -number, one)  # of equal ones the first in the file stays
        if len(heap) < size:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            heapq.heapreplace(heap, entry)
    pool = [one for _, _, one in sorted(heap, reverse=True)]
    return [pool[k] for k in _spread(pool, count)]


def _spread(pool: Sequence[Uncertain], count: int) -> list[int]:
    vectors = word_vectors([words_of(one.post).words for one in pool])
    errors = np.array([one.expected_errors for one in pool])
    unlike = np.ones(len(pool))
    chosen: list[int] = []
    while len(chosen) < count:
        gain = errors * unlike
        best = int(gain.argmax()) if len(pool) else 0
        if not len(pool) or gain[best] <= 1e-6:
            break
        chosen.append(best)
        cosine = np.asarray((vectors @ vectors[best].T).todense()).ravel()
        unlike = np.minimum(unlike, np.clip(1 - cosine, 0, 1))
        unlike[best] = 0
    return chosen


def word_vectors(texts: Sequence[Sequence[str]]) -> Any:
    """TF-IDF over lower-cased words, of length 1: a sparse matrix of *Shape:* (texts, words)."""
    from scipy.sparse import csr_matrix, diags

    numbers: dict[str, int] = {}
    rows, columns = [], []
    for row, words in enumerate(texts):
        for word in words:
            rows.append(row)
            columns.append(numbers.setdefault(word.lower(), len(numbers)))
    size = (len(texts), max(len(numbers), 1))
    counts = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=size)
    seen = np.bincount(counts.nonzero()[1], minlength=size[1])
    weighted = counts @ diags(np.log((1 + len(texts)) / (1 + seen)) + 1)
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
    return diags(1 / np.maximum(length, 1e-12)) @ weighted
