"""What a step sees that the step before could not: the entities found so far, written over the words.

The step before leaves N spans with class probabilities. Each word takes, for every type, the greatest probability of a
span that holds it, and of one that begins at it. Spans then read found entities as they read words, whichever of the N
spans found them. (A model that is given its own last estimate: self-conditioning, Chen et al. 2023, Analog Bits.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpe_mner.reasoning.heads import ReasoningOutput, predicted_spans


@dataclass(frozen=True)
class Found:
    """Entities of the step before.

    Attributes:
        words: Probability of being inside, and of beginning, an entity of each type. *Shape:* (B, M, 2 (C - 1))
        types: Class probabilities of each span. *Shape:* (B, N, C)
    """

    words: Tensor
    types: Tensor


@torch.no_grad()
def found_entities(output: ReasoningOutput) -> Found:
    """Write the spans of a step over the words."""
    spans, types = predicted_spans(output), output.types.softmax(-1)
    left, right = spans.unbind(-1)
    word = torch.arange(output.left.shape[-1], device=spans.device)
    begins = word == left[..., None]  # (B, N, M)
    inside = (word >= left[..., None]) & (word <= right[..., None])
    sure = torch.where((left <= right)[..., None], types[..., 1:], 0.0)  # (B, N, C - 1)
    written = [(where[..., None] * sure[:, :, None]).amax(1) for where in (inside, begins)]
    return Found(torch.cat(written, dim=-1), types)


class FoundEmbedding(nn.Module):
    """Found entities at width h, to be added to words and spans. Nothing found adds nothing.

    Args:
        width: h.
        classes: C.
    """

    def __init__(self, *, width: int, classes: int) -> None:
        super().__init__()
        self.words = nn.Linear(2 * (classes - 1), width, bias=False)
        self.types = nn.Linear(classes, width, bias=False)
