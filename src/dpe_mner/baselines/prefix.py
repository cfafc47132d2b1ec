"""What HVPNeT and VisualPT-MoE put before the text: a picture's maps as four tokens, states cut into heads."""

from __future__ import annotations

import torch
from torch import Tensor

from dpe_mner.baselines.vision import Blocks, image_blocks, pooled_grid
from dpe_mner.representations.batch import Batch

_SIDE = 2


def split_heads(states: Tensor, heads: int) -> Tensor:
    """*Shapes:* (B, P, h) -> (B, heads, P, h / heads)."""
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


class GridTokens:
    """Whole picture and regions as tokens, each picture averaged to 2 x 2 places.

    Args:
        channels: Of the features.
        fine_blocks: Blocks of one region.
        by_channel: Cut a map into four groups of channels of all places, as the published code does, not into places.
    """

    def __init__(self, channels: int, *, fine_blocks: int, by_channel: bool = False) -> None:
        self.channels = channels
        self.fine_blocks = fine_blocks
        self.by_channel = by_channel

    def __call__(self, batch: Batch) -> list[Blocks]:
        """Of every picture there is in the batch: the whole one first, then each region."""
        found = [self.whole(batch)] if batch.coarse is not None else []
        return found + self.regions(batch)

    def whole(self, batch: Batch) -> Blocks:
        """y_c. *Shape:* (B, up to 4, channels)."""
        return self._tokens(pooled_grid(image_blocks(batch, batch.coarse, self.channels), _SIDE))

    def regions(self, batch: Batch) -> list[Blocks]:
        """y_f, region by region."""
        if batch.fine is None:
            return []
        every = image_blocks(batch, batch.fine, self.channels)
        n = self.fine_blocks
        return [
            self._tokens(pooled_grid(Blocks(every.states[:, k : k + n], every.mask[:, k : k + n]), _SIDE))
            for k in range(0, every.states.shape[1], n)
        ]

    def _tokens(self, grid: Blocks) -> Blocks:
        if not self.by_channel or grid.states.shape[1] != _SIDE * _SIDE or self.channels % (_SIDE * _SIDE):
            return grid
        B, places, channels = grid.states.shape
        return Blocks(grid.states.transpose(1, 2).reshape(B, places, channels), grid.mask)


def first_pieces(embedded: Tensor, mask: Tensor, count: int) -> Blocks:
    """The first pieces of a text, padded to ``count``. *Shapes:* (B, S, e), (B, S) -> (B, count, e)."""
    short = max(count - embedded.shape[1], 0)
    states = torch.nn.functional.pad(embedded[:, :count], (0, 0, 0, short))
    there = torch.nn.functional.pad(mask[:, :count], (0, short))
    return Blocks(states * there[..., None], there)
