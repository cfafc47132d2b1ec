"""Auxiliary tagging of the words: a dense loss that teaches the words what entities are. No head reads it."""

from __future__ import annotations

from torch import Tensor, nn


class WordTagger(nn.Module):
    """A linear layer to IOB2 tags of every type.

    Args:
        width: h.
        classes: C.
        dropout: Dropout rate.
    """

    def __init__(self, *, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.tags = nn.Linear(width, 2 * (classes - 1) + 1)

    def forward(self, words: Tensor) -> Tensor:
        """Logits. *Shapes:* (..., M, h) -> (..., M, 2 (C - 1) + 1)."""
        return self.tags(self.dropout(words))
