"""Where a boundary may lie: learned biases by the distance from the span as it stands and from its first word.

A noisy span answers for what is near it. Its pooled state says what the words there mean, but only weakly where they
are; the pointer would have to find its own place again by likeness alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_RATE = 32.0  # logits a unit: a lone bias must go further than a weight at the same learning rate


class Nearness(nn.Module):
    """Biases of both boundary pointers; they begin half a logit lower with each word of distance.

    Args:
        reach: Distances beyond this many words share one bias, on either side.
    """

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach
        near = -0.5 * torch.arange(-reach, reach + 1).abs() / _RATE
        first_end = torch.tensor([1.0, 0.0])[None, :, None]  # the end that matching looks at (anchor_reach)
        self.from_span = nn.Parameter(near * first_end.expand(2, -1, -1))  # of (left, right), from the span's two ends
        self.from_left = nn.Parameter(near.clone())  # of the right boundary, from the left one

    def forward(self, spans: Tensor, words: int) -> tuple[Tensor, Tensor]:
        """Biases of the left and of the right boundary by the ends of the current spans.

        Args:
            spans: Both ends, in any order. *Shape:* (B, N, 2)
            words: M.

        Returns:
            *Shapes:* (B, N, M)
        """
        place = torch.arange(words, device=spans.device)
        distance = self._clip(place - spans[..., None])  # (B, N, 2, M)
        ends = torch.arange(2, device=spans.device)[:, None]
        left, right = _RATE * self.from_span[:, ends, distance].sum(3)
        return left, right

    def given_left(self, p_left: Tensor) -> Tensor:
        """Bias of the right boundary by where the left one probably is. *Shape:* (B, N, M) for both."""
        place = torch.arange(p_left.shape[-1], device=p_left.device)
        return p_left @ (_RATE * self.from_left)[self._clip(place[None, :] - place[:, None])].to(p_left.dtype)

    def _clip(self, distance: Tensor) -> Tensor:
        return distance.clamp(-self.reach, self.reach) + self.reach
