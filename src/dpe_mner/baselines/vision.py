"""Visual representations as the systems read them: blocks with a mask, none of them for a post without a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.fusion.visual import VisualStates
from dpe_mner.representations.batch import Batch, ImageFeatures, PieceBatch
from dpe_mner.representations.text import TextEncoder


@dataclass(frozen=True)
class Blocks(VisualStates):
    """Visual blocks of B posts, of any width. *Shapes:* states (B, n, width), mask (B, n); n may be 0."""

    def with_states(self, states: Tensor) -> Blocks:
        """Other states of the same blocks."""
        return Blocks(states, self.mask)


def no_blocks(batch: Batch, width: int) -> Blocks:
    """Nothing for every post."""
    device = batch.lengths.device
    return Blocks(torch.zeros(len(batch), 0, width, device=device), torch.zeros(len(batch), 0, device=device).bool())


def image_blocks(batch: Batch, features: ImageFeatures | None, channels: int) -> Blocks:
    """y_c or y_f as they are stored, before any projection."""
    if features is None:
        return no_blocks(batch, channels)
    return Blocks(features.features * features.mask[..., None], features.mask)


def joined(*parts: Blocks) -> Blocks:
    """Several kinds of blocks of one width, side by side."""
    return Blocks(torch.cat([p.states for p in parts], dim=1), torch.cat([p.mask for p in parts], dim=1))


def words_and_texts(encoder: TextEncoder, batch: Batch) -> tuple[Tensor, Blocks, Blocks]:
    """x_t, and the states of the words of captions (y_ct) and tags (y_ft), by one encoder.

    Returns:
        *Shapes:* (B, M, e), and blocks of width e.
    """
    given = [part for part in (batch.text, batch.caption, batch.tags) if part is not None]
    embedded = dict(zip(map(id, given), encoder.embed(*given), strict=True))
    x_t = encoder(batch, embedded[id(batch.text)]).x_t

    def blocks(part: PieceBatch | None) -> Blocks:
        if part is None:
            return no_blocks(batch, encoder.width)
        return Blocks(*encoder.visual_text(part, embedded[id(part)]))

    return x_t, blocks(batch.caption), blocks(batch.tags)


def pooled_grid(blocks: Blocks, side: int) -> Blocks:
    """A square map averaged to side x side blocks; a map that is no square, or smaller, stays as it is."""
    B, n, channels = blocks.states.shape
    rows = round(n**0.5)
    if rows * rows != n or rows <= side:
        return blocks
    grid = blocks.states.transpose(1, 2).reshape(B, channels, rows, rows)
    pooled = torch.nn.functional.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)
    return Blocks(pooled, blocks.present[:, None].expand(-1, side * side))
