"""Characters of a word as written, for encoders that do not see them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.representations.word_shapes import CODES


class CharacterConvolution(nn.Module):
    """A bag of character n-grams (2 to 4) for each word.

    Args:
        width: Width of the result.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, 32, padding_idx=0)
        self.filters = nn.ModuleList(nn.Conv1d(32, 64, size, padding=size - 1) for size in (2, 3, 4))
        self.output = nn.Linear(3 * 64, width)

    def forward(self, characters: Tensor) -> Tensor:
        """*Shape:* (B, M, 16) to (B, M, width)."""
        B, M, _ = characters.shape
        embedded = self.embedding(characters.view(B * M, -1)).transpose(1, 2)
        grams = torch.cat([convolution(embedded).amax(-1) for convolution in self.filters], dim=-1)
        return self.output(torch.relu(grams)).view(B, M, -1)
