"""Which region or tag the span of an entity rests on: the fine grain's rollout of the last reasoning step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.fusion.bottom import weighted_visual
from dpe_mner.fusion.rollout import visual_rollout
from dpe_mner.fusion.text_level import gap_weight
from dpe_mner.reasoning.trace import Reasoner, ReasoningTrace

LEAST_LIFT = 1.5  # times its even share; a span that looks at everything alike looked at nothing


@dataclass(frozen=True)
class FineAttention:
    """Attention of the N spans of the last step to the fine grain: the L blocks of y_f, then the K pieces of y_ft.

    Attributes:
        shares: Of each position in what a span received. *Shape:* (B, N, L + K)
        even: The share it would have if attention told nothing apart but what eq. 3 weighs. *Shape:* (B, L + K)
        regions: L.
        by_word: Whether the K are words instead of pieces.
        left: First word each span points at. *Shape:* (B, N)
        right: Last word. *Shape:* (B, N)
        confidence: Probability of being an entity. *Shape:* (B, N)
    """

    shares: Tensor
    even: Tensor
    regions: int
    by_word: bool
    left: Tensor
    right: Tensor
    confidence: Tensor

    def span_of(self, post: int, first: int, last: int) -> int | None:
        """The most confident span that points at these words."""
        same = (self.left[post] == first) & (self.right[post] == last)
        if not bool(same.any()):
            return None
        return int(torch.where(same, self.confidence[post], -1.0).argmax())


@torch.inference_mode()
def fine_attention(model: Reasoner, trace: ReasoningTrace) -> FineAttention | None:
    """Follow the attention of the last step's spans; None without a fine grain, or eq. 5, to follow."""
    fine = trace.visual["f"]
    regions = fine.image.mask.shape[1]
    fusion = model.settings.fusion
    fused = fusion.decompose and fusion.span_level and fusion.strategy == "dynamic"
    if regions + fine.image2text.mask.shape[1] == 0 or not fused:
        return None
    last = trace.steps[-1]
    states, mask, weights = weighted_visual(fine, gap_weight(trace.context.s[-1], fusion))
    scale = last.relevance[..., 1].mean(1)[:, None] * weights if fusion.weights_on == "states" else None
    shares = visual_rollout(
        model.network.exchanges["f"],
        last.x_s,
        mask.new_ones(last.x_s.shape[:2]),
        states,
        mask,
        scale=scale,
        odds=weights if scale is None else None,
    )
    even = mask.to(shares.dtype) if scale is not None else mask * weights.to(shares.dtype)
    return FineAttention(
        shares=shares,
        even=even / even.sum(-1, keepdim=True).clamp(min=1e-12),
        regions=regions,
        by_word=model.settings.encoder.caption_words,
        left=last.output.left.argmax(-1),
        right=last.output.right.argmax(-1),
        confidence=1 - last.output.types.softmax(-1)[..., 0],
    )


@dataclass(frozen=True)
class Source:
    """A region or tag and what of a span's attention it has.

    Attributes:
        kind: ``region`` or ``tag``.
        index: Which of them.
        share: Its share of the attention to the fine grain.
        lift: That share over the one that even attention would give it.
    """

    kind: str
    index: int
    share: float
    lift: float


def best_source(sources: Sequence[Source], *, least: float = LEAST_LIFT) -> Source | None:
    """The source with the greatest lift, by share where they are equal; None when attention is too near to even."""
    best = max(sources, key=lambda source: (source.lift, source.share), default=None)
    return best if best is not None and best.lift >= least else None
