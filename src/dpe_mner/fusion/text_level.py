"""Bottom and middle layer for one text level i: from x_i and vision to x_i^m."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.bottom import bottom_layer, fuse_weighted, pooled_seen, weighted_visual
from dpe_mner.fusion.middle import MiddleLayer
from dpe_mner.fusion.priority import schedule_weight
from dpe_mner.fusion.relevance import RelevanceGate, masked_mean
from dpe_mner.fusion.visual import GrainStates
from dpe_mner.settings import GRAINS, FusionSettings, Grain

VisualGrains = dict[Grain, GrainStates]


@dataclass(frozen=True)
class FusedText:
    """x_i^m (B, L, h), and the relevance of the coarse and fine grain: (B, 2), for spans (B, N, 2)."""

    states: Tensor
    relevance: Tensor


class TextLevelFusion(nn.Module):
    """Fuse(x_i, Y) for i in {t, g, s}.

    Args:
        width: h.
        settings: Fusion settings.
        each: Relevance is measured of each position by itself, as of spans, instead of their mean.
    """

    def __init__(self, *, width: int, settings: FusionSettings, each: bool = False) -> None:
        super().__init__()
        self.settings = settings
        self.each = each
        self.relevance = nn.ModuleDict({j: RelevanceGate(width=width) for j in GRAINS})
        self.middle = MiddleLayer(width=width, prioritize=settings.prioritize) if settings.decompose else None

    def forward(
        self, x: Tensor, x_mask: Tensor, visual: VisualGrains, s: Tensor, bottlenecks: nn.ModuleDict
    ) -> FusedText:
        """Fuse.

        Args:
            x: x_i. *Shape:* (B, L, h)
            x_mask: *Shape:* (B, L)
            visual: y_c, y_ct, y_f, y_ft.
            s: sqrt(alpha_t). *Shape:* (B,)
            bottlenecks: MBT of each grain; the network owns them, for text levels may share them.

        Returns:
            x_i^m and the relevance.
        """
        if not any(grain.image.mask.shape[1] + grain.image2text.mask.shape[1] for grain in visual.values()):
            return FusedText(x, x.new_zeros(*(x.shape[:2] if self.each else x.shape[:1]), 2))
        gap, grain = gap_weight(s, self.settings), grain_weight(s, self.settings)
        asking = x if self.each else masked_mean(x, x_mask)
        if self.middle is None:
            return self._flat(x, x_mask, asking, visual, gap, grain, cast(BottleneckTransformer, bottlenecks["c"]))
        contexts, relevance = [], []
        for j in GRAINS:
            context, rel = bottom_layer(
                x,
                x_mask,
                asking,
                visual[j],
                gap,
                gate=self.gate(j),
                bottleneck=cast(BottleneckTransformer, bottlenecks[j]),
                weights_on=self.settings.weights_on,
            )
            contexts.append(context)
            relevance.append(rel)
        fused = self.middle(x, *contexts, grain, visual["c"].present, visual["f"].present)
        return FusedText(fused, torch.stack(relevance, dim=-1))

    def gate(self, j: Grain) -> RelevanceGate:
        """Eq. 4 for grain j."""
        return cast(RelevanceGate, self.relevance[j])

    def _flat(
        self,
        x: Tensor,
        x_mask: Tensor,
        asking: Tensor,
        visual: VisualGrains,
        gap: Tensor | None,
        grain: Tensor,
        bottleneck: BottleneckTransformer,
    ) -> FusedText:
        """w/o DMF: all four representations in one sequence through one MBT, with the same priorities."""
        parts, relevance = [], []
        weights: dict[Grain, Tensor] = {"c": grain, "f": 1 - grain}
        for j, weight in weights.items():
            there = visual[j].present.to(x.dtype)
            relevance.append(
                self.gate(j)(asking, pooled_seen(visual[j], gap)) * (there[:, None] if self.each else there)
            )
            states, mask, gap_weights = weighted_visual(visual[j], gap)
            shares = gap_weights if gap is None else gap_weights * weight.to(x.dtype)[:, None]
            parts.append((states, mask, shares))
        states, mask, shares = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        both = torch.stack(relevance, dim=-1)
        count = torch.stack([visual[j].present for j in GRAINS]).sum(0).clamp(min=1)
        mean = both.sum(-1) / (count[:, None] if self.each else count)  # one MBT has one relevance
        fused = fuse_weighted(x, x_mask, (states, mask, shares), mean, bottleneck, self.settings.weights_on)
        return FusedText(torch.where(mask.any(1)[:, None, None], fused, x), both)


def gap_weight(s: Tensor, settings: FusionSettings) -> Tensor | None:
    """Weight of image2text against image (eq. 3), None without priorities. *Shape:* as ``s``."""
    if not settings.prioritize or settings.strategy != "dynamic":
        return None
    return schedule_weight(s, priority=settings.priority, minimum=settings.lambda_x, reverse=settings.reverse_gap)


def grain_weight(s: Tensor, settings: FusionSettings) -> Tensor:
    """Weight of coarse against fine (eq. 6). *Shape:* as ``s``."""
    return schedule_weight(s, priority=settings.priority, minimum=settings.lambda_y, reverse=settings.reverse_grain)
