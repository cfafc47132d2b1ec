"""Eq. 4 and the logits of eq. 17 and 18: how relevant a picture is to a text, at one text level and visual grain.

A single linear layer on [x; y] would give u_a + v_b for text a and picture b: every text would rank the pictures
alike, and the contrastive loss could teach nothing. FC is therefore a bilinear form: the cosine of both in a space of
low rank. The gate is the sigmoid of an affine function of that cosine: the contrastive loss ranks pairs by the cosine,
and the function is fitted so that the gate is the probability that a pair belongs together, when half of all pairs do.
Where pairs cannot be told apart it is a half: neither shut nor wide open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner import ranks

_RANK = 64
_SLOPE, _OFFSET = 10.0, 1.0  # a gate that starts open, at 0.73 for a cosine of 0


@dataclass(frozen=True, kw_only=True)
class PairRelevance:
    """Relevance of text a and picture b of a batch, at one text level and grain.

    Attributes:
        logits: Cosines over tau, which eq. 17 and 18 rank. *Shape:* (B, B)
        odds: Logits of the gate of eq. 4, from which a loss reaches the gate alone. *Shape:* (B, B)
        printed: The gates over tau, which eq. 17 and 18 rank as they are printed. *Shape:* (B, B)
        present: Posts that have the grain. *Shape:* (B,)
        own: Posts of this process, when several train together; None: all of them. *Shape:* (B,)
    """

    logits: Tensor
    odds: Tensor
    printed: Tensor
    present: Tensor
    own: Tensor | None = None


class RelevanceGate(nn.Module):
    """rel^i for a pair (i, j).

    Args:
        width: h.
        rank: Of the bilinear form.
        temperature: tau of eq. 17 and 18 as training begins; it is learned.
    """

    def __init__(self, *, width: int, rank: int = _RANK, temperature: float = 0.1) -> None:
        super().__init__()
        self.text = nn.Linear(width, rank)
        self.picture = nn.Linear(2 * width, rank)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.slope = nn.Parameter(torch.tensor(_SLOPE))
        self.offset = nn.Parameter(torch.tensor(_OFFSET))
        with torch.no_grad():  # a text and the words of its own picture start alike
            self.picture.weight[:, width:] = self.text.weight

    def pairs(self, x: Tensor, y: Tensor, present: Tensor) -> PairRelevance:
        """Every text of the batch and every picture, for the losses.

        Args:
            x: Pooled text, or the N spans of each text. *Shape:* (B, h) or (B, N, h)
            y: Pooled [y_j; y_jt]. *Shape:* (B, 2h)
            present: Posts that have this grain. *Shape:* (B,)

        Returns:
            Of the texts and pictures of all ranks, when several train together.
        """
        logits = self.logits(x, y)
        own = ranks.own(len(logits), logits.device) if ranks.size() > 1 else None
        present = ranks.gathered(present)
        odds = self.slope * (logits / self.scale).detach() + self.offset
        printed = torch.sigmoid(self.slope * logits / self.scale + self.offset) * self.scale
        return PairRelevance(logits=logits, odds=odds, printed=printed, present=present, own=own)

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
            Those of all ranks, when several train together. *Shape:* (A, B)
        """
        texts, pictures = ranks.gathered(self._of_text(x)), ranks.gathered(self._of_picture(y))
        return texts @ pictures.transpose(0, 1) * self.scale

    def _of_text(self, x: Tensor) -> Tensor:
        """Directions of texts; the mean over spans, whose cosine is the mean of the cosines. *Shape:* (A, rank)."""
        texts = functional.normalize(self.text(x).float(), dim=-1)
        return texts if x.ndim == 2 else texts.mean(1)

    def _of_picture(self, y: Tensor) -> Tensor:
        return functional.normalize(self.picture(y).float(), dim=-1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The gate of matched pairs.

        Args:
            x: Pooled text, or N spans. *Shape:* (B, h) or (B, N, h)
            y: *Shape:* (B, 2h)

        Returns:
            *Shape:* (B,) or (B, N)
        """
        texts = functional.normalize(self.text(x).float(), dim=-1)
        pictures = self._of_picture(y)
        pictures = pictures if x.ndim == 2 else pictures[:, None]
        return torch.sigmoid(self.slope * (texts * pictures).sum(-1) + self.offset).to(x.dtype)


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real positions, zero where there is none. *Shapes:* (B, L, h), (B, L) -> (B, h)."""
    weight = mask.to(states.dtype)[:, None, :]
    # Counted by a product: before 1.32 onnxruntime sums over no position to no number, where this gives 0.
    count = weight @ torch.ones_like(states[..., :1])
    return (weight @ states).squeeze(1) / count.squeeze(1).clamp(min=1)
