"""Bottom layer, eq. 3 to 5: a text level meets one grain of vision across both modality gaps."""

from __future__ import annotations

import torch
from torch import Tensor

from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.priority import share_between
from dpe_mner.fusion.relevance import RelevanceGate
from dpe_mner.fusion.visual import GrainStates
from dpe_mner.settings import WeightsOn


def weighted_visual(grain: GrainStates, schedule: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """H_vj of eq. 3: image and image2text side by side, and the weight of each position.

    The weights stay beside the states until attention reads them: its norm would undo a scale applied earlier.

    Args:
        grain: y_j and y_jt.
        schedule: Weight of image2text, or None for plain concatenation (w/o PMI). *Shape:* (B,)

    Returns:
        States (B, L, h), mask (B, L) and weights (B, L).
    """
    states = torch.cat([grain.image.states, grain.image2text.states], dim=1)
    mask = torch.cat([grain.image.mask, grain.image2text.mask], dim=1)
    if schedule is None:
        return states, mask, states.new_ones(mask.shape)
    easy, hard = share_between(schedule, grain.image2text.present, grain.image.present)
    sizes = grain.image.mask.shape[1], grain.image2text.mask.shape[1]
    weights = [w.to(states.dtype)[:, None].expand(-1, size) for w, size in zip((hard, easy), sizes, strict=True)]
    return states, mask, torch.cat(weights, dim=1)


def pooled_seen(grain: GrainStates, schedule: Tensor | None) -> Tensor:
    """[y_j; y_jt] of eq. 4, without what weighs nothing at this time: the gate too must not know of it.

    Args:
        grain: y_j and y_jt.
        schedule: Weight of image2text, or None. *Shape:* (B,)

    Returns:
        *Shape:* (B, 2h)
    """
    if schedule is None:
        return grain.pooled
    easy, hard = share_between(schedule, grain.image2text.present, grain.image.present)
    parts = (grain.image.pooled, hard), (grain.image2text.pooled, easy)
    return torch.cat([pooled * (weight > 0)[:, None] for pooled, weight in parts], dim=-1)


def fuse_weighted(
    x: Tensor,
    x_mask: Tensor,
    visual: tuple[Tensor, Tensor, Tensor],
    relevance: Tensor,
    bottleneck: BottleneckTransformer,
    weights_on: WeightsOn,
) -> Tensor:
    """MBT(x_i, rel^i H_vj) of eq. 5, with the weights where the settings have them act.

    ``states``, as printed: the visual states are multiplied by weight and relevance. ``attention``: the weights
    multiply the odds of being attended to, so that they are the proportions that eq. 3 speaks of, and the relevance
    mixes the result with x_i, so that relevance 0 is x_i itself, and each span can have its own.

    Args:
        x: x_i. *Shape:* (B, L, h)
        x_mask: *Shape:* (B, L)
        visual: From :func:`weighted_visual`.
        relevance: rel^i of each post or of each position. *Shape:* (B,) or (B, L)
        bottleneck: MBT.
        weights_on: ``states`` or ``attention``.

    Returns:
        *Shape:* (B, L, h)
    """
    states, mask, weights = visual
    if weights_on == "states":
        of_post = relevance if relevance.ndim == 1 else relevance.mean(1)
        return bottleneck(x, x_mask, states, mask, scale=of_post[:, None] * weights)
    fused = bottleneck(x, x_mask, states, mask, odds=weights)
    each = relevance[:, None, None] if relevance.ndim == 1 else relevance[..., None]
    return x + each * (fused - x)


def bottom_layer(
    x: Tensor,
    x_mask: Tensor,
    asking: Tensor,
    grain: GrainStates,
    schedule: Tensor | None,
    *,
    gate: RelevanceGate,
    bottleneck: BottleneckTransformer,
    weights_on: WeightsOn,
) -> tuple[Tensor, Tensor]:
    """x_i^j of eq. 5 and its relevance (eq. 4).

    A post whose grain is missing gets exactly x_i, whatever else is in its batch.

    Args:
        x: x_i. *Shape:* (B, L, h)
        x_mask: *Shape:* (B, L)
        asking: What relevance is measured of: pooled x_i, or every span. *Shape:* (B, h) or (B, L, h)
        grain: y_j and y_jt.
        schedule: Weight of image2text (eq. 3). *Shape:* (B,)
        gate: Eq. 4.
        bottleneck: MBT.
        weights_on: Where the weights act, see :func:`fuse_weighted`.

    Returns:
        x_i^j (B, L, h), and rel (B,) or (B, L), 0 where the grain is missing.
    """
    present = grain.present
    if grain.image.states.shape[1] + grain.image2text.states.shape[1] == 0:
        return x, x.new_zeros(asking.shape[:-1])
    there = present.to(x.dtype) if asking.ndim == 2 else present.to(x.dtype)[:, None]
    relevance = gate(asking, pooled_seen(grain, schedule)) * there  # eq. 4
    fused = fuse_weighted(x, x_mask, weighted_visual(grain, schedule), relevance, bottleneck, weights_on)  # eq. 3, 5
    return torch.where(present[:, None, None], fused, x), relevance
