"""Bottom layer, eq. 3 to 5: a text granularity meets one grain of vision across both modality gaps."""

from __future__ import annotations

import torch
from torch import Tensor

from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.relevance import RelevanceGate
from dpe_mner.fusion.visual import GrainStates
from dpe_mner.spans.priority import share_between


def weighted_visual(grain: GrainStates, easy: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """H_vj of eq. 3: image and image2text side by side, and the weight of each position.

    The weights stay beside the states until attention reads them: its norm would undo a scale applied earlier.

    Args:
        grain: y_j and y_jt.
        easy: Weight of image2text, or None for plain concatenation (w/o PMI). *Shape:* (B,)

    Returns:
        States (B, L, h), mask (B, L) and weights (B, L).
    """
    states = torch.cat([grain.image.states, grain.image2text.states], dim=1)
    mask = torch.cat([grain.image.mask, grain.image2text.mask], dim=1)
    if easy is None:
        return states, mask, states.new_ones(mask.shape)
    easy, hard = share_between(easy, grain.image2text.present, grain.image.present)
    sizes = grain.image.mask.shape[1], grain.image2text.mask.shape[1]
    weights = [w.to(states.dtype)[:, None].expand(-1, size) for w, size in zip((hard, easy), sizes, strict=True)]
    return states, mask, torch.cat(weights, dim=1)


def bottom_layer(
    x: Tensor,
    x_mask: Tensor,
    pooled_x: Tensor,
    grain: GrainStates,
    easy: Tensor | None,
    *,
    gate: RelevanceGate,
    bottleneck: BottleneckTransformer,
) -> tuple[Tensor, Tensor]:
    """x_i^j of eq. 5 and its relevance (eq. 4).

    A post whose grain is missing gets exactly x_i, whoever its batch neighbours are.

    Args:
        x: x_i. *Shape:* (B, L, h)
        x_mask: *Shape:* (B, L)
        pooled_x: *Shape:* (B, h)
        grain: y_j and y_jt.
        easy: Weight of image2text (eq. 3). *Shape:* (B,)
        gate: Eq. 4.
        bottleneck: MBT.

    Returns:
        x_i^j (B, L, h) and rel (B,), 0 where the grain is missing.
    """
    present = grain.present
    if grain.image.states.shape[1] + grain.image2text.states.shape[1] == 0:
        return x, x.new_zeros(x.shape[0])
    relevance = gate(pooled_x, grain.pooled) * present.to(x.dtype)  # eq. 4
    visual, visual_mask, weights = weighted_visual(grain, easy)  # eq. 3
    fused = bottleneck(x, x_mask, visual, visual_mask, relevance[:, None] * weights)  # eq. 5
    return torch.where(present[:, None, None], fused, x), relevance
