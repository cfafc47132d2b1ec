"""What the ranks of one training step must agree on before any of them draws or computes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dpe_mner.errors import InputError
from dpe_mner.ranks import largest, size
from dpe_mner.representations.batch import Batch, ImageFeatures, PieceBatch

_TEXTS, _IMAGES = ("caption", "tags"), ("coarse", "fine")


def own_batch_size(batch_size: int) -> int:
    """Posts of a batch that each rank takes.

    Raises:
        InputError: If the batch cannot be shared out evenly.
    """
    if batch_size % size():
        raise InputError(
            f"training.batch_size {batch_size}: the posts of a batch are shared by {size()} processes; "
            f"give a multiple of {size()}"
        )
    return batch_size // size()


def with_parts_of_all(batch: Batch, *, pad_id: int) -> Batch:
    """The batch with every visual part that any rank has, empty where this rank's posts have none.

    Ranks wait for each other's parts, and draw which of them are hidden: both must be the same parts everywhere.

    Args:
        batch: Posts of this rank, for our own model: counts and words of regions, which it does not read, are dropped.
        pad_id: Padding piece.
    """
    if size() == 1:
        return batch
    widths = torch.tensor([_width(getattr(batch, name)) for name in (*_TEXTS, *_IMAGES)], device=batch.lengths.device)
    empty: dict[str, PieceBatch | ImageFeatures] = {}
    for name, width in zip((*_TEXTS, *_IMAGES), largest(widths).tolist(), strict=True):
        if width and getattr(batch, name) is None:
            empty[name] = _no_pieces(batch.lengths, pad_id) if name in _TEXTS else _no_image(batch.lengths, width)
    return replace(batch, objects=None, fine_words=None, **empty)  # type: ignore[arg-type]


def _width(part: PieceBatch | ImageFeatures | None) -> int:
    if part is None:
        return 0
    return part.features.shape[-1] if isinstance(part, ImageFeatures) else 1


def _no_pieces(lengths: Tensor, pad_id: int) -> PieceBatch:
    ids = torch.full((len(lengths), 1), pad_id, device=lengths.device)
    nothing = torch.zeros_like(ids)
    return PieceBatch(ids=ids, mask=nothing.bool(), word_index=nothing - 1, shapes=nothing)


def _no_image(lengths: Tensor, channels: int) -> ImageFeatures:
    features = torch.zeros(len(lengths), 1, channels, device=lengths.device)
    return ImageFeatures(features, torch.zeros(len(lengths), 1, dtype=torch.bool, device=lengths.device))
