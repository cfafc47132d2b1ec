"""What the network sees of a batch of posts: padded tensors with their masks."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class PieceBatch:
    """Word pieces of B sequences.

    Attributes:
        ids: *Shape:* (B, S)
        mask: True at real pieces. *Shape:* (B, S)
        word_index: Word a piece belongs to, -1 for special pieces. *Shape:* (B, S)
        shapes: Word shape of each piece, 0 for special pieces. *Shape:* (B, S)
    """

    ids: Tensor
    mask: Tensor
    word_index: Tensor
    shapes: Tensor

    def to(self, device: torch.device | str) -> PieceBatch:
        """Copy to a device."""
        return PieceBatch(*(getattr(self, f.name).to(device) for f in fields(self)))

    def rows(self, index: Tensor) -> PieceBatch:
        """Some of the sequences.

        Args:
            index: Their numbers. *Shape:* (b,)
        """
        return PieceBatch(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True)
class ImageFeatures:
    """Features of pictures, y_c or y_f before projection. *Shapes:* (B, L, channels) and (B, L)."""

    features: Tensor
    mask: Tensor

    def to(self, device: torch.device | str) -> ImageFeatures:
        """Copy to a device."""
        return ImageFeatures(self.features.to(device), self.mask.to(device))


@dataclass(frozen=True)
class GoldSpans:
    """Gold entities, padded to E of them.

    Attributes:
        spans: First and last word. *Shape:* (B, E, 2)
        labels: Class 1 .. C-1. *Shape:* (B, E)
        count: *Shape:* (B,)
        tags: Word tags for the auxiliary loss, -100 on padding. *Shape:* (B, M)
    """

    spans: Tensor
    labels: Tensor
    count: Tensor
    tags: Tensor

    def to(self, device: torch.device | str) -> GoldSpans:
        """Copy to a device."""
        return GoldSpans(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class Batch:
    """B posts.

    Attributes:
        text: Pieces of the posts.
        lengths: Words of each post, M. *Shape:* (B,)
        words: M of the longest post of the batch.
        characters: Character codes of each word, or None. *Shape:* (B, M, 16)
        caption: Pieces of the captions (y_ct); a row without one is all padding. None: nobody has one.
        tags: Pieces of the object tags (y_ft), likewise.
        coarse: y_c, or None.
        fine: y_f, or None.
        objects: Objects in the picture, and objects per million of its pixels; -1 where unknown. None: nobody has
            any. *Shape:* (B, 2)
        fine_words: First and last word of the phrase that each row of ``fine`` answers to, -1 where it has none or it
            lies outside the window. None: nobody has any. *Shape:* (B, L, 2)
        convention: Number of each post's annotation convention; None is the default for all. *Shape:* (B,)
        gold: Gold entities while training.
    """

    text: PieceBatch
    lengths: Tensor
    words: int
    characters: Tensor | None = None
    caption: PieceBatch | None = None
    tags: PieceBatch | None = None
    coarse: ImageFeatures | None = None
    fine: ImageFeatures | None = None
    objects: Tensor | None = None
    fine_words: Tensor | None = None
    convention: Tensor | None = None
    gold: GoldSpans | None = None

    def __len__(self) -> int:
        return int(self.lengths.shape[0])

    @property
    def word_mask(self) -> Tensor:
        """*Shape:* (B, M)."""
        return torch.arange(self.words, device=self.lengths.device)[None, :] < self.lengths[:, None]

    def to(self, device: torch.device | str) -> Batch:
        """Copy to a device."""
        moved = {
            f.name: value.to(device) if hasattr(value := getattr(self, f.name), "to") else value for f in fields(self)
        }
        return Batch(**moved)
