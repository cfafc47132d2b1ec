"""Distinct scored spans of a batch, and a flat choice among them, on plain arrays.

Everything works on whole batches; nothing loops over posts or spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpe_mner.settings import DecisionSettings

DIGITS = 3  # of a score; more would show the noise of float32 products, which depends on how many posts share a batch
Row = tuple[int, int, int, float]  # first word, last word, class, score
Array = NDArray[Any]


@dataclass(frozen=True)
class Candidates:
    """Scored spans of each post.

    Attributes:
        spans: First and last word. *Shape:* (B, Q, 2)
        labels: Class 1 .. C-1. *Shape:* (B, Q)
        scores: In [0, 1]; 0 where there is no candidate. *Shape:* (B, Q)
    """

    spans: Array
    labels: Array
    scores: Array


def merge_steps(steps: Sequence[Candidates], *, combine: str) -> Candidates:
    """Distinct candidates of all given steps, best first.

    Within a step the best of equal spans counts. Over the steps ``mean`` counts a step that lacks a candidate as 0,
    ``max`` takes the surest step, and ``last`` the last one alone.

    Returns:
        Q = (number of steps) * N slots, those without a distinct candidate scored 0.
    """
    if combine == "last":
        steps = steps[-1:]
    spans = np.stack([step.spans for step in steps], axis=1)  # (B, K, N, 2)
    labels = np.stack([step.labels for step in steps], axis=1)
    scores = np.stack([step.scores for step in steps], axis=1)
    B, K, N = scores.shape
    spans, labels, flat = spans.reshape(B, K * N, 2), labels.reshape(B, K * N), scores.reshape(B, K * N)
    key = _keys(spans, labels)
    same = (key[:, :, None] == key[:, None]) & (flat > 0)[:, None]  # (B, Q, Q)
    by_step = np.where(same, flat[:, None], np.float32(0)).reshape(B, K * N, K, N).max(-1, initial=0)
    combined = by_step.max(-1) if combine == "max" else by_step.mean(-1, dtype=scores.dtype)
    repeated = np.tril(same, -1).any(-1)
    return sort_candidates(Candidates(spans, labels, np.where(repeated | (flat <= 0), np.float32(0), combined)))


def sort_candidates(candidates: Candidates) -> Candidates:
    """Best first; equal scores by position and class, so that slot order never decides."""
    spans, labels, scores = candidates.spans, candidates.labels, candidates.scores
    order = _keys(spans, labels).argsort(axis=-1, kind="stable")
    by_score = (-np.take_along_axis(scores, order, 1)).argsort(axis=-1, kind="stable")
    order = np.take_along_axis(order, by_score, 1)
    return Candidates(
        np.take_along_axis(spans, order[..., None], 1),
        np.take_along_axis(labels, order, 1),
        np.take_along_axis(scores, order, 1),
    )


def choose(candidates: Candidates, threshold: float) -> Array:
    """Greedy flat choice: best first, none overlapping a better one.

    Args:
        candidates: Sorted, best first.
        threshold: Least score.

    Returns:
        True at the chosen candidates. *Shape:* (B, Q)
    """
    scores = candidates.scores
    undecided = (scores > 0) & (scores >= scores.dtype.type(threshold))
    left, right = candidates.spans[..., 0], candidates.spans[..., 1]
    overlap = (left[:, :, None] <= right[:, None]) & (left[:, None] <= right[:, :, None])
    beaten_by = np.tril(overlap, -1)  # (B, Q, Q): row loses to column
    chosen = np.zeros_like(undecided)
    while undecided.any():  # at most as many rounds as the longest chain of overlaps
        winners = undecided & ~(beaten_by & undecided[:, None]).any(-1)
        chosen |= winners
        undecided = undecided & ~winners & ~(overlap & winners[:, None]).any(-1)
    return chosen


def rows_of(candidates: Candidates, keep: Array) -> list[list[Row]]:
    """The kept candidates of each post, as plain rows."""
    post, slot = keep.nonzero()
    spans = candidates.spans[post, slot].tolist()
    labels = candidates.labels[post, slot].tolist()
    scores = candidates.scores[post, slot].astype(np.float64).clip(0, 1).tolist()
    rows: list[list[Row]] = [[] for _ in range(keep.shape[0])]
    for owner, (left, right), label, score in zip(post.tolist(), spans, labels, scores, strict=True):
        rows[owner].append((left, right, label, round(score, DIGITS)))
    return rows


def decode(steps: Sequence[Candidates], decision: DecisionSettings, *, combine: str) -> list[list[Row]]:
    """The entities of each post of a batch from the candidates of every reasoning step.

    Args:
        steps: Candidates of each.
        decision: Threshold, and what a score says.
        combine: How a candidate's scores in several steps become one.
    """
    merged = merge_steps(steps, combine=combine)
    merged = replace(merged, scores=calibrated_scores(merged.scores, decision))
    return rows_of(merged, choose(merged, decision.threshold))


def calibrated_scores(scores: Array, decision: DecisionSettings) -> Array:
    """Scores as the share of such entities that were right on validation (Platt 1999); 0 stays 0, order stays."""
    slope, offset = decision.score_slope, decision.score_offset
    if (slope, offset) == (1.0, 0.0):
        return scores
    odds = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    mapped = 1 / (1 + np.exp(-(slope * np.log(odds / (1 - odds)) + offset)))
    return np.where(scores > 0, mapped, 0.0).astype(scores.dtype)


def _keys(spans: Array, labels: Array) -> Array:
    """One number for position and class, in their order. *Shape:* (B, Q)."""
    if not spans.size:
        return labels.astype(np.int64)
    size = int(spans.max()) + 2
    keys: Array = (spans[..., 0].astype(np.int64) * size + spans[..., 1]) * (int(labels.max()) + 1) + labels
    return keys
