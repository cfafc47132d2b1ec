"""From the logits of one reasoning step to the candidate of each span (2.3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.decoding.candidates import Candidates
from dpe_mner.reasoning.heads import ReasoningOutput, boundary_probabilities
from dpe_mner.settings import HeadSettings


@dataclass(frozen=True)
class StepCandidates:
    """The candidate of each of the N spans of one step, repeated spans included.

    Attributes:
        spans: First and last word. *Shape:* (B, N, 2)
        labels: Class 1 .. C-1. *Shape:* (B, N)
        scores: In [0, 1]; 0 where there is no candidate. *Shape:* (B, N)
    """

    spans: Tensor
    labels: Tensor
    scores: Tensor

    def on_host(self) -> Candidates:
        """As plain arrays, which decoding works on."""
        return Candidates(self.spans.cpu().numpy(), self.labels.cpu().numpy(), self.scores.float().cpu().numpy())


def step_candidates(output: ReasoningOutput, settings: HeadSettings) -> StepCandidates:
    """The candidate of each span.

    Its score is p(left) p(right) p(type); a span that ends before it starts scores 0.

    Args:
        output: Logits of the step.
        settings: Tell how the boundaries were trained.
    """
    p_left, p_right = boundary_probabilities(output, settings)
    left, right = p_left.max(-1), p_right.max(-1)
    kind = output.types.softmax(-1)[..., 1:].max(-1)
    scores = left.values * right.values * kind.values * (left.indices <= right.indices)
    return StepCandidates(torch.stack([left.indices, right.indices], dim=-1), kind.indices + 1, scores)
