"""From the logits of the reasoning steps to entities: candidates, their scores, and a flat choice among them.

Everything works on whole batches; nothing loops over posts or spans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.reasoning.span_table import look_up
from dpe_mner.settings import Settings


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


def candidates_of(output: ReasoningOutput, settings: Settings) -> Candidates:
    """:func:`step_candidates` as a model's settings say."""
    return step_candidates(
        output,
        boundary_loss=settings.heads.boundary_loss,
        tag_vote=settings.reasoning.tag_vote,
        table_vote=settings.reasoning.table_vote,
    )


def step_candidates(
    output: ReasoningOutput, *, boundary_loss: str, tag_vote: float = 0.0, table_vote: float = 0.0
) -> Candidates:
    """The candidate of each of the N spans of one step, repeated spans included.

    Its score is p(left) p(right) p(type); a span that ends before it starts scores 0.

    Args:
        output: Logits of the step.
        boundary_loss: How the boundary logits were trained.
        tag_vote: Share of the score that the auxiliary tags decide.
        table_vote: Share of what is left that the span table decides, for spans it holds.
    """
    p_left, p_right = (
        logits.sigmoid() if boundary_loss == "sigmoid" else logits.softmax(-1) for logits in (output.left, output.right)
    )
    left, right = p_left.max(-1), p_right.max(-1)
    kind = output.types.softmax(-1)[..., 1:].max(-1)
    scores = left.values * right.values * kind.values * (left.indices <= right.indices)
    candidates = Candidates(torch.stack([left.indices, right.indices], dim=-1), kind.indices + 1, scores)
    if table_vote > 0 and output.table is not None:
        held, known = look_up(output.table.float().softmax(-1), left.indices, right.indices, candidates.labels)
        mixed = (1 - table_vote) * scores + table_vote * held
        candidates = replace(candidates, scores=torch.where(known & (scores > 0), mixed, scores))
    if tag_vote > 0 and output.tags is not None:
        tagged = tag_scores(output.tags, candidates) * (scores > 0)
        candidates = replace(candidates, scores=(1 - tag_vote) * candidates.scores + tag_vote * tagged)
    return candidates


def tag_scores(tags: Tensor, candidates: Candidates) -> Tensor:
    """Probability that the word tags spell exactly these entities: begin, inside to the last word, then no inside.

    Args:
        tags: Tagging logits. *Shape:* (B, M, 2 (C - 1) + 1)
        candidates: *Shapes:* (B, Q, ...)

    Returns:
        *Shape:* (B, Q); 0 where a candidate ends before it starts.
    """
    log_p = tags.float().log_softmax(-1)
    begin, inside = log_p[..., 1::2], log_p[..., 2::2]  # (B, M, C - 1)
    left, right = candidates.spans.unbind(-1)
    label = candidates.labels - 1
    total = functional.pad(inside.cumsum(1), (0, 0, 1, 0))  # sum of the first m words

    def at(values: Tensor, word: Tensor) -> Tensor:
        rows = values.gather(1, word[..., None].expand(-1, -1, values.shape[-1]))
        return rows.gather(2, label[..., None]).squeeze(-1)

    after = functional.pad(inside, (0, 0, 0, 1), value=float("-inf"))  # nothing follows the last word
    stays_out = 1 - at(after, right + 1).exp()
    spelled = at(begin, left) + at(total, right + 1) - at(total, left + 1)
    return torch.where(left <= right, spelled.exp() * stays_out, 0.0)


def merge_steps(steps: list[Candidates]) -> Candidates:
    """Distinct candidates of all given steps.

    Within a step the best of equal spans counts, over the steps their mean (a step that lacks one counts 0).

    Returns:
        Q = (number of steps) * N slots, those without a distinct candidate scored 0.
    """
    spans = torch.stack([step.spans for step in steps], dim=1)  # (B, K, N, 2)
    labels = torch.stack([step.labels for step in steps], dim=1)
    scores = torch.stack([step.scores for step in steps], dim=1)
    B, K, N = scores.shape
    key = torch.cat([spans, labels[..., None]], dim=-1).view(B, K * N, 3)
    flat = scores.view(B, K * N)
    same = (key[:, :, None] == key[:, None]).all(-1) & (flat > 0)[:, None]  # (B, Q, Q)
    by_step = torch.where(same, flat[:, None], 0.0).view(B, K * N, K, N).amax(-1)
    mean = by_step.mean(-1)
    earlier = torch.ones(K * N, K * N, dtype=torch.bool, device=flat.device).tril(-1)
    repeated = (same & earlier).any(-1)
    merged = torch.where(repeated | (flat <= 0), 0.0, mean)
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
