"""Eq. 4 and the logits of eq. 17 and 18: how relevant a picture is to a text, at one granularity and grain.

A single linear layer on [x; y] would give u_a + v_b for text a and picture b: every text would rank the pictures
alike, and the contrastive loss could teach nothing. FC is therefore a low-rank bilinear form plus the linear terms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RelevanceGate(nn.Module):
    """rel^i for a pair (i, j).

    Args:
        width: h.
        rank: Rank of the bilinear form.
    """

    def __init__(self, *, width: int, rank: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, rank)
        self.picture = nn.Linear(2 * width, rank)
        self.text_bias = nn.Linear(width, 1)
        self.picture_bias = nn.Linear(2 * width, 1)
        self.scale = 1 / math.sqrt(rank)

    def logits(self, x: Tensor, y: Tensor) -> Tensor:
        """Every text of the batch against every picture, without a loop.

        Args:
            x: Pooled text. *Shape:* (A, h)
            y: Pooled [y_j; y_jt]. *Shape:* (B, 2h)

        Returns:
            *Shape:* (A, B)
        """
        mixed = self.text(x) @ self.picture(y).transpose(0, 1) * self.scale
        return mixed + self.text_bias(x) + self.picture_bias(y).transpose(0, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The gate of matched pairs, the sigmoid of the diagonal of :meth:`logits`.

        Args:
            x: *Shape:* (B, h)
            y: *Shape:* (B, 2h)

        Returns:
            *Shape:* (B,)
        """
        mixed = (self.text(x) * self.picture(y)).sum(-1) * self.scale
        return torch.sigmoid(mixed + self.text_bias(x).squeeze(-1) + self.picture_bias(y).squeeze(-1))


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real positions, zero where there is none. *Shapes:* (B, L, h), (B, L) -> (B, h)."""
    weight = mask.to(states.dtype)[:, None, :]
    return (weight @ states).squeeze(1) / weight.sum(-1).clamp(min=1)
