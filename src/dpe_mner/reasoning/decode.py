"""From the logits of the reasoning steps to entities: candidates, their scores, and a flat choice among them.

Everything works on whole batches; nothing loops over posts or spans.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.reasoning.heads import ReasoningOutput, boundary_probabilities
from dpe_mner.settings import HeadSettings


@dataclass(frozen=True)
class Candidates:
    """Distinct scored spans of each post, best first.

    Attributes:
        spans: First and last word. *Shape:* (B, Q, 2)
        labels: Class 1 .. C-1. *Shape:* (B, Q)
        scores: In [0, 1]; 0 where there is no candidate. *Shape:* (B, Q)
    """

    spans: Tensor
    labels: Tensor
    scores: Tensor


def step_candidates(output: ReasoningOutput, settings: HeadSettings) -> Candidates:
    """The candidate of each of the N spans of one step, repeated spans included.

    Its score is p(left) p(right) p(type); a span that ends before it starts scores 0.

    Args:
        output: Logits of the step.
        settings: Tell how the boundaries were trained.
    """
    p_left, p_right = boundary_probabilities(output, settings)
    left, right = p_left.max(-1), p_right.max(-1)
    kind = output.types.softmax(-1)[..., 1:].max(-1)
    scores = left.values * right.values * kind.values * (left.indices <= right.indices)
    return Candidates(torch.stack([left.indices, right.indices], dim=-1), kind.indices + 1, scores)


def merge_steps(steps: list[Candidates], *, combine: str = "mean") -> Candidates:
    """Distinct candidates of all given steps.

    Within a step the best of equal spans counts. Over the steps ``mean`` counts a step that lacks a candidate as 0,
    ``max`` takes the surest step, and ``last`` the last one alone.

    Returns:
        Q = (number of steps) * N slots, those without a distinct candidate scored 0.
    """
    if combine == "last":
        steps = steps[-1:]
    spans = torch.stack([step.spans for step in steps], dim=1)  # (B, K, N, 2)
    labels = torch.stack([step.labels for step in steps], dim=1)
    scores = torch.stack([step.scores for step in steps], dim=1)
    B, K, N = scores.shape
    key = torch.cat([spans, labels[..., None]], dim=-1).view(B, K * N, 3)
    flat = scores.view(B, K * N)
    same = (key[:, :, None] == key[:, None]).all(-1) & (flat > 0)[:, None]  # (B, Q, Q)
    by_step = torch.where(same, flat[:, None], 0.0).view(B, K * N, K, N).amax(-1)
    combined = by_step.amax(-1) if combine == "max" else by_step.mean(-1)
    earlier = torch.ones(K * N, K * N, dtype=torch.bool, device=flat.device).tril(-1)
    repeated = (same & earlier).any(-1)
    merged = torch.where(repeated | (flat <= 0), 0.0, combined)
    return sort_candidates(Candidates(spans.view(B, K * N, 2), labels.view(B, K * N), merged))


def sort_candidates(candidates: Candidates) -> Candidates:
    """Best first; equal scores by position and class, so that slot order never decides."""
    spans, labels, scores = candidates.spans, candidates.labels, candidates.scores
    size = int(spans.max()) + 2 if spans.numel() else 2
    position = (spans[..., 0] * size + spans[..., 1]) * (int(labels.max()) + 1 if labels.numel() else 1) + labels
    order = position.argsort(dim=-1, stable=True)
    order = order.gather(1, scores.gather(1, order).argsort(dim=-1, descending=True, stable=True))
    return Candidates(
        spans.gather(1, order[..., None].expand(-1, -1, 2)), labels.gather(1, order), scores.gather(1, order)
    )


def choose(candidates: Candidates, threshold: Tensor) -> Tensor:
    """Greedy flat choice: best first, none overlapping a better one.

    Args:
        candidates: Sorted, best first.
        threshold: Least score of each class. *Shape:* (C,)

    Returns:
        True at the chosen candidates. *Shape:* (B, Q)
    """
    scores = candidates.scores
    open_ = (scores > 0) & (scores >= threshold.to(scores)[candidates.labels])
    left, right = candidates.spans.unbind(-1)
    overlap = (left[:, :, None] <= right[:, None]) & (left[:, None] <= right[:, :, None])
    better = torch.ones(scores.shape[1], scores.shape[1], dtype=torch.bool, device=scores.device).tril(-1)
    beaten_by = overlap & better  # (B, Q, Q): row loses to column
    chosen = torch.zeros_like(open_)
    while bool(open_.any()):  # at most as many rounds as the longest chain of overlaps
        winners = open_ & ~(beaten_by & open_[:, None]).any(-1)
        chosen |= winners
        open_ = open_ & ~winners & ~(overlap & winners[:, None]).any(-1)
    return chosen
