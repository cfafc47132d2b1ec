"""How far a boundary moves from where the span stands, as H_m says it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

REACH = 8  # words; farther ones share a score
_SLOPE = 0.5  # logits a word, where learning starts: a noisy span answers for what is near it
_RATE = 32.0  # logits a unit: a lone bias must go further than a weight at the same learning rate


class Displacement(nn.Module):
    """Scores of the words by their distance from the span's two ends, predicted from the span's features.

    Object detectors predict a box as an offset from the box as it stands; this is the same for spans, as a
    distribution over whole words.

    Args:
        width: h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        near = -_SLOPE * torch.arange(-REACH, REACH + 1).abs()
        self.scores = nn.Linear(width, 2 * (2 * REACH + 1))
        with torch.no_grad():  # the first end is the one that matching goes by
            self.scores.bias.copy_(torch.cat([near, torch.zeros_like(near)]))

    def forward(self, features: Tensor, ends: Tensor, words: int) -> Tensor:
        """Scores.

        Args:
            features: H_m^bound. *Shape:* (B, N, h)
            ends: Both ends of the current spans, in any order. *Shape:* (B, N, 2)
            words: M.

        Returns:
            *Shape:* (B, N, M)
        """
        place = torch.arange(words, device=ends.device)
        first, second = self.scores(features).chunk(2, dim=-1)
        return first.gather(-1, clipped(place - ends[..., :1])) + second.gather(-1, clipped(place - ends[..., 1:]))


class EntityLength(nn.Module):
    """Bias of the right boundary by where the left one probably is."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(-_SLOPE * torch.arange(-REACH, REACH + 1).abs() / _RATE)

    def forward(self, p_left: Tensor) -> Tensor:
        """Biases. *Shape:* (B, N, M) -> (B, N, M)."""
        place = torch.arange(p_left.shape[-1], device=p_left.device)
        return p_left @ (_RATE * self.bias)[clipped(place[None, :] - place[:, None])].to(p_left.dtype)


def clipped(distance: Tensor) -> Tensor:
    """Index of a distance in a table that ends at :data:`REACH` on either side."""
    return distance.clamp(-REACH, REACH) + REACH
