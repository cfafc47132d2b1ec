"""The span table: classes of every short span of a post at once (Eberts and Ulges, 2020, 3.1).

As an auxiliary head of DPE-MNER it gives every span of a post a class to learn, where the noisy spans of a step are
few; the reasoning steps read it as they read the word tags. It is all there is to the baseline BERT-Span.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class SpanTable(nn.Module):
    """Scores of ``[first word; last word; pooled words; length]`` through one hidden layer.

    The hidden layer is applied to words before they become spans wherever that is the same, which saves most of the
    multiplications: a word is in up to L (L + 1) / 2 spans of L words or fewer.

    Args:
        width: Of the word states.
        classes: C.
        max_length: L.
        hidden_size: Of the hidden layer.
        length_size: Width of the embedding of a span's length.
        pooling: Of the words inside the span.
        dropout: On the hidden layer.
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        max_length: int,
        hidden_size: int,
        length_size: int = 25,
        pooling: Literal["mean", "max"] = "max",
        dropout: float,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.pooling = pooling
        self.first = nn.Linear(width, hidden_size)
        self.last = nn.Linear(width, hidden_size, bias=False)
        self.inside = nn.Linear(width, hidden_size, bias=False)
        self.lengths = nn.Embedding(max_length, length_size)
        self.length = nn.Linear(length_size, hidden_size, bias=False)
        self.output = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_size, classes))

    def forward(self, words: Tensor) -> Tensor:
        """Logits of the span of every first word and length.

        Args:
            words: *Shape:* (B, M, width)

        Returns:
            *Shape:* (B, M, L, C); a span that ends behind the post means nothing.
        """
        first = self.first(words)[:, :, None]
        last = following(self.last(words), self.max_length)
        if self.pooling == "max":
            seen = following(words, self.max_length).unbind(2)
            inside = self.inside(torch.stack(list(accumulate(seen, torch.maximum)), dim=2))
        else:
            count = torch.arange(1, self.max_length + 1, device=words.device)[:, None]
            inside = following(self.inside(words), self.max_length).cumsum(2) / count
        return self.output(first + last + inside + self.length(self.lengths.weight))


def following(x: Tensor, length: int) -> Tensor:
    """Each word and the L - 1 behind it, zero behind the post. *Shape:* (B, M, ...) to (B, M, L, ...)."""
    M = x.shape[1]
    padded = functional.pad(x, (0, 0) * (x.dim() - 2) + (0, length - 1))
    return torch.stack([padded[:, k : k + M] for k in range(length)], dim=2)


def inside_post(lengths: Tensor, words: int, max_length: int) -> Tensor:
    """Which spans end within their post. *Shape:* (B, M, L)."""
    last = torch.arange(words, device=lengths.device)[:, None] + torch.arange(max_length, device=lengths.device)
    return last < lengths[:, None, None]


def expected_classes(p_left: Tensor, p_right: Tensor, table: Tensor) -> Tensor:
    """What the table says of softly pointed-at spans: the mean of its class probabilities under both pointers.

    Args:
        p_left: Probability of each word as the first. *Shape:* (B, N, M)
        p_right: As the last. *Shape:* (B, N, M)
        table: Class probabilities. *Shape:* (B, M, L, C)

    Returns:
        *Shape:* (B, N, C); sums to less than 1 where the pointers mean no span of L words or fewer.
    """
    L = table.shape[2]
    ends = following(p_right.transpose(1, 2), L).permute(0, 3, 1, 2)  # (B, N, M, L)
    joint = p_left[..., None] * ends
    return joint.flatten(2) @ table.flatten(1, 2)


def look_up(table: Tensor, left: Tensor, right: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The table's value for given spans and classes.

    Args:
        table: *Shape:* (B, M, L, C)
        left: First words. *Shape:* (B, Q)
        right: Last words. *Shape:* (B, Q)
        label: Classes. *Shape:* (B, Q)

    Returns:
        Values, and whether the span is in the table at all. *Shapes:* (B, Q)
    """
    _, _, L, C = table.shape
    length = right - left
    known = (length >= 0) & (length < L)
    index = (left * L + length.clamp(0, L - 1)) * C + label
    return table.flatten(1).gather(1, index), known
