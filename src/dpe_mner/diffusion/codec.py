"""Spans as numbers and back: one convention both ways, exact at zero noise for every span of every length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SpanCodec:
    """Map word indices to signals in ``[-scale, scale]`` and back.

    Word ``i`` of ``M`` sits at the middle of its cell, ``(2 i + 1) / (2 M)``; decoding takes the cell a signal
    falls in. The same ``M`` is used both ways, so nothing moves at zero noise.
    """

    scale: float

    def encode(self, spans: Tensor, lengths: Tensor) -> Tensor:
        """Signals z_0 of inclusive word spans.

        Args:
            spans: First and last word. *Shape:* (B, N, 2)
            lengths: Words of each post, M. *Shape:* (B,)

        Returns:
            *Shape:* (B, N, 2), float32.
        """
        words = lengths.clamp(min=1)[:, None, None].to(torch.float32)
        return ((2.0 * spans.to(torch.float32) + 1.0) / words - 1.0) * self.scale

    def decode(self, signals: Tensor, lengths: Tensor) -> Tensor:
        """Word spans of signals, ordered so that the first word is not after the last.

        Args:
            signals: *Shape:* (B, N, 2)
            lengths: *Shape:* (B,)

        Returns:
            *Shape:* (B, N, 2), int64, both ends inside the post.
        """
        return torch.sort(self.ends(signals, lengths), dim=-1).values

    def ends(self, signals: Tensor, lengths: Tensor) -> Tensor:
        """The word each of the two signals of a span falls on, in their own order: noise may cross them.

        The first one is the span's anchor, the word it looks at. *Shape:* (B, N, 2), int64.
        """
        words = lengths.clamp(min=1)[:, None, None]
        unit = (signals.to(torch.float32) / self.scale + 1.0) / 2.0
        index = torch.floor(unit * words).to(torch.int64)
        return torch.minimum(index.clamp(min=0), words - 1)

    def clamp(self, signals: Tensor) -> Tensor:
        """Signals inside ``[-scale, scale]``. *Shape:* unchanged."""
        return signals.clamp(-self.scale, self.scale)
