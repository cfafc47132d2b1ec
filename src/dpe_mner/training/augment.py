"""What is hidden from the model while it trains, drawn on whole batches from the step's generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dpe_mner.ranks import drawn, largest
from dpe_mner.representations.batch import Batch


def hide_pieces(batch: Batch, *, chance: float, mask_id: int | None, generator: torch.Generator) -> Batch:
    """Put the mask piece in place of some word pieces of the posts: names must be read from their context too."""
    if chance == 0 or mask_id is None:
        return batch
    B, S = batch.text.ids.shape
    device = batch.text.ids.device
    longest = int(largest(torch.tensor(S, device=device)))  # of all ranks: the draw must not depend on their number
    hidden = drawn(torch.rand, (B, longest), generator=generator, device=device)[:, :S] < chance
    ids = torch.where(hidden & (batch.text.word_index >= 0), mask_id, batch.text.ids)
    return replace(batch, text=replace(batch.text, ids=ids))


def hide_vision(batch: Batch, *, chance: float, generator: torch.Generator) -> Batch:
    """Modality dropout: each of the four visual representations goes missing for some posts, by itself.

    The number of objects belongs to the whole picture, and goes with y_c; the words of regions go with y_f.
    """
    if chance == 0:
        return batch

    def keep() -> Tensor:
        device = batch.lengths.device
        return drawn(torch.rand, (len(batch), 1), generator=generator, device=device) >= chance

    changed: dict[str, Any] = {}
    kept: dict[str, Tensor] = {}
    for name in ("caption", "tags", "coarse", "fine"):
        part = getattr(batch, name)
        if part is not None:
            kept[name] = keep()
            changed[name] = replace(part, mask=part.mask & kept[name])
    if batch.objects is not None:
        shown = kept["coarse"] if "coarse" in kept else keep()
        changed["objects"] = torch.where(shown, batch.objects, -1.0)
    if batch.fine_words is not None and "fine" in kept:
        changed["fine_words"] = torch.where(kept["fine"][..., None], batch.fine_words, -1)
    return replace(batch, **changed)
