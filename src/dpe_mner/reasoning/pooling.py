"""Words pooled into spans, and a linear map of what was pooled.

Pooling is linear: ``Linear(weights @ words)`` is ``weights @ Linear(words)``. While training there are several noisy
spans a word, so the words are mapped and then pooled; it saves multiplications and the concatenation of what is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class MeanPooling(nn.Module):
    """Mean of a span's words (2.2.1)."""

    def words(self, x_t: Tensor) -> Tensor:
        """What is pooled. *Shape:* (B, M, h)."""
        return x_t

    def forward(self, words: Tensor, spans: Tensor) -> Tensor:
        """Pool. *Shapes:* (B, M, h), (B, N, 2) -> (B, N, h)."""
        return mean_weights(spans, words.shape[1]).to(words.dtype) @ words


class MeanAndEndsPooling(nn.Module):
    """Mean of a span's words, its two ends beside it, mapped from 3h to h.

    Args:
        width: h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        linear = nn.Linear(3 * width, width)
        self.weight, self.bias = linear.weight, linear.bias

    def words(self, x_t: Tensor) -> Tensor:
        """The words as insides and as either end, mapped: once for all reasoning steps. *Shape:* (B, 3M, h)."""
        return mapped_words([x_t] * 3, self.weight.chunk(3, dim=1))

    def forward(self, words: Tensor, spans: Tensor) -> Tensor:
        """Pool. *Shapes:* (B, 3M, h) from :meth:`words`, (B, N, 2) -> (B, N, h)."""
        M = words.shape[1] // 3
        word = torch.arange(M, device=spans.device)
        ends = (spans[..., None] == word).flatten(2)  # one-hot, (B, N, 2M)
        weights = torch.cat([mean_weights(spans, M), ends], dim=-1)
        return weights.to(words.dtype) @ words + self.bias


def mean_weights(spans: Tensor, words: int) -> Tensor:
    """Weight of each word in the mean of each span, whose ends come in any order. *Shape:* (B, N, M)."""
    spans = torch.sort(spans, dim=-1).values
    word = torch.arange(words, device=spans.device)
    inside = ((word >= spans[..., :1]) & (word <= spans[..., 1:])).float()
    return inside / inside.sum(-1, keepdim=True).clamp(min=1)


def mapped_words(words: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    """Words under a linear map's columns, part by part, side by side.

    Args:
        words: P parts. *Shape:* (B, M, width of the part)
        columns: Of the map, for each part. *Shape:* (h, width of the part)

    Returns:
        *Shape:* (B, P * M, h)
    """
    return torch.cat([functional.linear(part, column) for part, column in zip(words, columns, strict=True)], dim=1)
