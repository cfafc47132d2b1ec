"""Eq. 4 and the logits of eq. 17 and 18: how relevant a picture is to a text, at one granularity and grain.

A single linear layer on [x; y] would give u_a + v_b for text a and picture b: every text would rank the pictures
alike, and the contrastive loss could teach nothing. FC is therefore a bilinear form: the cosine of both in a space of
low rank. The gate is the sigmoid of an affine function of that cosine: the contrastive loss ranks pairs by the cosine,
and the function is fitted so that the gate is the probability that a pair belongs together, when half of all pairs do.
Where pairs cannot be told apart it is a half: neither shut nor wide open.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE, _OFFSET = 10.0, 1.0  # a gate that starts open, at 0.73 for a cosine of 0


class RelevanceGate(nn.Module):
    """rel^i for a pair (i, j).

    Args:
        width: h.
        rank: Of the bilinear form.
        temperature: tau of eq. 17 and 18 as training begins; it is learned.
    """

    def __init__(self, *, width: int, rank: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.text = nn.Linear(width, rank)
        self.picture = nn.Linear(2 * width, rank)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.slope = nn.Parameter(torch.tensor(_SLOPE))
        self.offset = nn.Parameter(torch.tensor(_OFFSET))
        with torch.no_grad():  # a text and the words of its own picture start alike
            self.picture.weight[:, width:] = self.text.weight

    def printed(self, logits: Tensor) -> Tensor:
        """The gates of all pairs over tau, which eq. 17 and 18 rank as they are printed. *Shape:* (A, B) for both."""
        return torch.sigmoid(self.slope * logits / self.scale + self.offset) * self.scale

    def doubt(self, logits: Tensor, present: Tensor) -> Tensor:
        """-log p of the gate's being right, the mean of own pairs and of exchanged ones; it teaches the gate alone.

        Args:
            logits: From :meth:`logits`. *Shape:* (B, B)
            present: Posts that have the grain. *Shape:* (B,)

        Returns:
            A scalar, 0 with fewer than two posts.
        """
        odds = self.slope * (logits / self.scale).detach() + self.offset
        own = torch.eye(len(present), dtype=torch.bool, device=present.device)
        pair = present[:, None] & present
        right = functional.logsigmoid(torch.where(own, odds, -odds))
        means = [torch.where(kind, right, 0.0).sum() / kind.sum().clamp(min=1) for kind in (pair & own, pair & ~own)]
        return -(means[0] + means[1]) / 2 * (present.sum() > 1)

    @property
    def scale(self) -> Tensor:
        """1 / tau."""
        return self.log_scale.exp().clamp(max=100)

    def logits(self, x: Tensor, y: Tensor) -> Tensor:
        """Every text of the batch against every picture, without a loop: cosines over tau.

        Args:
            x: Pooled text, or the N spans of each text, whose cosines are averaged. *Shape:* (A, h) or (A, N, h)
            y: Pooled [y_j; y_jt]. *Shape:* (B, 2h)

        Returns:
            *Shape:* (A, B)
        """
        texts = functional.normalize(self.text(x).float(), dim=-1)
        texts = texts if x.ndim == 2 else texts.mean(1)  # the mean cosine is the cosine with the mean direction
        pictures = functional.normalize(self.picture(y).float(), dim=-1)
        return texts @ pictures.transpose(0, 1) * self.scale

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The gate of matched pairs.

        Args:
            x: Pooled text, or N spans. *Shape:* (B, h) or (B, N, h)
            y: *Shape:* (B, 2h)

        Returns:
            *Shape:* (B,) or (B, N)
        """
        texts = functional.normalize(self.text(x).float(), dim=-1)
        pictures = functional.normalize(self.picture(y).float(), dim=-1)
        pictures = pictures if x.ndim == 2 else pictures[:, None]
        return torch.sigmoid(self.slope * (texts * pictures).sum(-1) + self.offset).to(x.dtype)


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real positions, zero where there is none. *Shapes:* (B, L, h), (B, L) -> (B, h)."""
    weight = mask.to(states.dtype)[:, None, :]
    return (weight @ states).squeeze(1) / weight.sum(-1).clamp(min=1)
