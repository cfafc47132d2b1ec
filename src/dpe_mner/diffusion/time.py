"""E_t: the embedding of the diffusion time that eq. 11 and 12 add to the spans."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Sinusoids of t through a two-layer perceptron.

    Args:
        width: h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.expand = nn.Linear(width, width)
        self.contract = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """Embed times.

        Args:
            t: *Shape:* (B,)

        Returns:
            *Shape:* (B, 1, h)
        """
        half = self.width // 2
        rates = torch.exp(-math.log(10000.0) * torch.arange(half, device=t.device) / max(half - 1, 1))
        angles = t[:, None].to(torch.float32) * rates
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        waves = nn.functional.pad(waves, (0, self.width - 2 * half))
        hidden = nn.functional.gelu(self.expand(waves.to(self.expand.weight.dtype)))
        return self.contract(hidden)[:, None, :]
