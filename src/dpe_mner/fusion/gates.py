"""The gated sum of eq. 7-10 and 13-16: g * a + (1 - g) * b with g = sigmoid(W [a; b] + b)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedSum(nn.Module):
    """Elementwise mixture of two states with a learned gate.

    Args:
        width: h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """*Shape:* (B, L, h) for both and for the result."""
        gate = torch.sigmoid(self.gate(torch.cat([a, b], dim=-1)))
        return b + gate * (a - b)
