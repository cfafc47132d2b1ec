"""Which region or tag the span of an entity rests on: the fine grain's rollout of the last reasoning step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.bottom import weighted_visual
from dpe_mner.fusion.granularity import gap_weight
from dpe_mner.fusion.rollout import visual_rollout
from dpe_mner.reasoning.trace import Reasoner, ReasoningTrace


@dataclass(frozen=True)
class FineAttention:
    """Attention of the N spans of the last step to the fine grain.

    Attributes:
        image: To each block of y_f. *Shape:* (B, N, L)
        image2text: To each piece of y_ft. *Shape:* (B, N, K)
        left: First word each span points at. *Shape:* (B, N)
        right: Last word. *Shape:* (B, N)
        confidence: Probability of being an entity. *Shape:* (B, N)
    """

    image: Tensor
    image2text: Tensor
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
    """Follow the attention of the last step's spans; None without a fine grain, or MBT, to follow."""
    fine = trace.visual["f"]
    regions = fine.image.mask.shape[1]
    fusion = model.settings.fusion
    if regions + fine.image2text.mask.shape[1] == 0 or not fusion.decompose or fusion.strategy != "dynamic":
        return None
    last = trace.steps[-1]
    states, mask, weights = weighted_visual(fine, gap_weight(trace.context.s[-1], fusion))
    mbt = cast(BottleneckTransformer, model.network.mbt("s")["f"])
    span_mask = mask.new_ones(last.x_s.shape[:2])
    # A row without vision needs one open key: attention over nothing is not a number; its share is masked to zero.
    shares = visual_rollout(mbt, last.x_s, span_mask, states, mask, last.relevance[:, 1:] * weights)
    return FineAttention(
        image=shares[..., :regions],
        image2text=shares[..., regions:],
        left=last.output.left.argmax(-1),
        right=last.output.right.argmax(-1),
        confidence=1 - last.output.types.softmax(-1)[..., 0],
    )


def best_source(region_weights: Sequence[float], tag_weights: Sequence[float]) -> tuple[str, int, float] | None:
    """``("region" | "tag", index, weight)`` of the greatest weight, or None without any."""
    rows = [("region", k, w) for k, w in enumerate(region_weights)] + [("tag", k, w) for k, w in enumerate(tag_weights)]
    best = max(rows, key=lambda row: row[2], default=None)
    return best if best is not None and best[2] > 0 else None
