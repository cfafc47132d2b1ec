"""What is hidden from the model while it trains, drawn on whole batches from the step's generator."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dpe_mner.representations.batch import Batch, ImageFeatures, PieceBatch


def hide_pieces(batch: Batch, *, chance: float, mask_id: int | None, generator: torch.Generator) -> Batch:
    """Put the mask piece in place of some word pieces of the posts: names must be read from their context too."""
    if chance == 0 or mask_id is None:
        return batch
    drawn = torch.rand(batch.text.ids.shape, generator=generator, device=batch.text.ids.device) < chance
    ids = torch.where(drawn & (batch.text.word_index >= 0), mask_id, batch.text.ids)
    return replace(batch, text=replace(batch.text, ids=ids))


def hide_vision(batch: Batch, *, chance: float, generator: torch.Generator) -> Batch:
    """Modality dropout: each of the four visual representations goes missing for some posts, by itself."""
    if chance == 0:
        return batch

    def keep() -> Tensor:
        device = batch.lengths.device
        return torch.rand(len(batch), 1, generator=generator, device=device) >= chance

    def pieces(part: PieceBatch | None) -> PieceBatch | None:
        return None if part is None else replace(part, mask=part.mask & keep())

    def image(part: ImageFeatures | None) -> ImageFeatures | None:
        return None if part is None else replace(part, mask=part.mask & keep())

    return replace(
        batch,
        caption=pieces(batch.caption),
        tags=pieces(batch.tags),
        coarse=image(batch.coarse),
        fine=image(batch.fine),
    )
