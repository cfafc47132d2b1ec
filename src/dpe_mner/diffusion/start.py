"""Which N spans a training pass starts from: gold spans expanded to N, and a share of pure noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.ranks import drawn


@dataclass(frozen=True)
class GoldExpansion:
    """Expand up to E gold spans of a post to N starting spans.

    Every gold span gets about the same number of starting spans. Slots beyond the gold share, and all slots of a post
    without entities, are noise from the start, so "no entity" is learned inside posts that have entities too.
    """

    spans: int
    gold_share: float

    def __call__(self, gold_count: Tensor) -> tuple[Tensor, Tensor]:
        """Gold index of every slot.

        Args:
            gold_count: Gold spans of each post. *Shape:* (B,)

        Returns:
            The index into the post's gold spans, (B, N), and whether the slot starts from gold at all, (B, N).
            With more gold spans than slots the first N are taken.
        """
        slot = torch.arange(self.spans, device=gold_count.device)[None, :]
        count = gold_count[:, None]
        index = slot % count.clamp(min=1)
        shared = max(round(self.spans * self.gold_share), 1)
        return index, (slot < shared) & (count > 0)


def starting_signals(z_t_gold: Tensor, from_gold: Tensor, *, scale: float, generator: torch.Generator | None) -> Tensor:
    """Noised gold where a slot starts from gold, uniform noise elsewhere. *Shape:* (B, N, 2)."""
    uniform = drawn(torch.rand, z_t_gold.shape, generator=generator, device=z_t_gold.device)
    return torch.where(from_gold[..., None], z_t_gold, (uniform * 2 - 1) * scale)
