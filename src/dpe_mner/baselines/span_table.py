"""The span table: classes of every short span of a post at once (Eberts and Ulges, 2020, 3.1).

It is all there is to the baseline BERT-Span.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.objective.losses import IGNORED
from dpe_mner.representations.batch import GoldSpans


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
            *Shape:* (B, M, L, C); a span that ends after the post means nothing.
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
    """Each word and the L - 1 after it, zero after the post. *Shape:* (B, M, ...) to (B, M, L, ...)."""
    M = x.shape[1]
    padded = functional.pad(x, (0, 0) * (x.dim() - 2) + (0, length - 1))
    return torch.stack([padded[:, k : k + M] for k in range(length)], dim=2)


def inside_post(lengths: Tensor, words: int, max_length: int) -> Tensor:
    """Which spans end within their post. *Shape:* (B, M, L)."""
    last = torch.arange(words, device=lengths.device)[:, None] + torch.arange(max_length, device=lengths.device)
    return last < lengths[:, None, None]


def span_table_loss(table: Tensor, gold: GoldSpans, lengths: Tensor) -> Tensor:
    """Cross-entropy over all spans of the table, summed over a post's, a mean over posts.

    Args:
        table: Logits. *Shape:* (B, M, L, C)
        gold: Gold entities.
        lengths: Words of each post. *Shape:* (B,)
    """
    labels = span_labels(gold, lengths, table.shape[1], table.shape[2])
    logits = table.float().flatten(0, 2)
    total = functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / len(lengths)


def span_labels(gold: GoldSpans, lengths: Tensor, words: int, max_length: int) -> Tensor:
    """The class of every span; gold entities longer than L have none.

    Args:
        gold: Gold entities.
        lengths: *Shape:* (B,)
        words: M.
        max_length: L.

    Returns:
        0 for no entity, -100 after the post. *Shape:* (B, M, L)
    """
    labels = torch.where(inside_post(lengths, words, max_length), 0, IGNORED)
    first, last = gold.spans.unbind(-1)
    real = torch.arange(first.shape[1], device=first.device) < gold.count[:, None]
    row, column = (real & (last - first < max_length)).nonzero(as_tuple=True)
    start = first[row, column]
    labels[row, start, last[row, column] - start] = gold.labels[row, column]
    return labels
