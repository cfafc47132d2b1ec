"""Candidates of a batch as plain rows."""

from __future__ import annotations

from torch import Tensor

from dpe_mner.reasoning.decode import Candidates

DIGITS = 3  # of a score; more would show the noise of float32 products, which depends on how many posts share a batch
Row = tuple[int, int, int, float]  # first word, last word, class, score


def rows_of(candidates: Candidates, keep: Tensor) -> list[list[Row]]:
    """The kept candidates of each post, one device-to-host copy a batch."""
    post, slot = keep.nonzero(as_tuple=True)
    spans = candidates.spans[post, slot].tolist()
    labels = candidates.labels[post, slot].tolist()
    scores = candidates.scores[post, slot].double().tolist()
    rows: list[list[Row]] = [[] for _ in range(keep.shape[0])]
    for owner, (left, right), label, score in zip(post.tolist(), spans, labels, scores, strict=True):
        rows[owner].append((left, right, label, round(min(max(score, 0.0), 1.0), DIGITS)))
    return rows
