"""Multi-modal-guided entity reasoning (2.3.2): two boundary pointers and a type classifier on separate features.

Types come from H_m alone, and boundaries from H_m and the words H_t that it points among, as the paper has it: what
fusion and reasoning did not put into H_m, no answer holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.reasoning.pointer import Displacement, EntityLength
from dpe_mner.reasoning.pooling import MeanAndEndsPooling, MeanPooling
from dpe_mner.settings import HeadSettings, HeadVariant


@dataclass(frozen=True)
class ReasoningOutput:
    """What one reasoning step says of N spans.

    Attributes:
        left: Logits of each word as the first word of the entity, -inf on padding. *Shape:* (B, N, M)
        right: The same for the last word. *Shape:* (B, N, M)
        types: Logits over the C classes, 0 is "no entity". *Shape:* (B, N, C)
    """

    left: Tensor
    right: Tensor
    types: Tensor


class EntityHeads(nn.Module):
    """Disentangled features of H_m, for boundaries and for types (2.3.2), and the classifier of the latter.

    Args:
        width: h.
        classes: C.
        dropout: Dropout rate.
    """

    def __init__(self, *, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.boundary_features = nn.Linear(width, width)  # H_m^bound
        self.type_features = nn.Linear(width, width)  # H_m^type
        self.dropout = nn.Dropout(dropout)
        self.types = nn.Linear(width, classes)

    def forward(self, H_m: Tensor, ends: Tensor, words: Tensor, word_mask: Tensor) -> ReasoningOutput:
        """Decode H_m.

        Args:
            H_m: *Shape:* (B, N, h)
            ends: Ends of the current spans, in any order. *Shape:* (B, N, 2)
            words: H_t. *Shape:* (B, M, h)
            word_mask: *Shape:* (B, M)

        Returns:
            Logits of boundaries and types.
        """
        bound = functional.gelu(self.boundary_features(H_m))
        kind = self.dropout(functional.gelu(self.type_features(H_m)))
        left, right = self.boundaries(bound, ends, words, ~word_mask[:, None, :])
        return ReasoningOutput(left=left, right=right, types=self.types(kind).float())

    def boundaries(self, bound: Tensor, ends: Tensor, words: Tensor, closed: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of left and right; ``closed`` is True at padding. *Shapes:* (B, N, M)."""
        raise NotImplementedError


class SigmoidHeads(EntityHeads):
    """The paper's: an additive score of span and word, and a sigmoid of each word by itself.

    H_t is x_t, and x_s0 the mean of a span's words.
    """

    words_with_vision = False

    @staticmethod
    def pooling(width: int) -> MeanPooling:
        """From words to x_s0."""
        return MeanPooling()

    def __init__(self, *, width: int, classes: int, dropout: float) -> None:
        super().__init__(width=width, classes=classes, dropout=dropout)
        self.left, self.right = AdditiveScore(width), AdditiveScore(width)

    def boundaries(self, bound: Tensor, ends: Tensor, words: Tensor, closed: Tensor) -> tuple[Tensor, Tensor]:
        """P^l and P^r before the sigmoid."""
        left, right = self.left(bound, words).float(), self.right(bound, words).float()
        return left.masked_fill(closed, float("-inf")), right.masked_fill(closed, float("-inf"))


class PointerHeads(EntityHeads):
    """A softmax over the words: a matrix product of span and word, and how far H_m has the boundary move.

    H_t is x_t^m, for a boundary that only the picture tells is found among words that have seen it; x_s0 holds the
    span's two ends beside the mean.
    """

    words_with_vision = True

    @staticmethod
    def pooling(width: int) -> MeanAndEndsPooling:
        """From words to x_s0."""
        return MeanAndEndsPooling(width)

    def __init__(self, *, width: int, classes: int, dropout: float) -> None:
        super().__init__(width=width, classes=classes, dropout=dropout)
        self.left, self.right = BilinearScore(width), BilinearScore(width)
        self.left_shift, self.right_shift = Displacement(width), Displacement(width)
        self.length = EntityLength()

    def boundaries(self, bound: Tensor, ends: Tensor, words: Tensor, closed: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the word pointed at; the right one knows where the left one points."""
        M = words.shape[1]
        left = (self.left(bound, words) + self.left_shift(bound, ends, M)).float()
        left = left.masked_fill(closed, float("-inf"))
        right = (self.right(bound, words) + self.right_shift(bound, ends, M)).float()
        right = right + self.length(left.softmax(-1))
        return left, right.masked_fill(closed, float("-inf"))


class AdditiveScore(nn.Module):
    """FC(H_m^bound W_m + H_t W_t) of 2.3.2, with a nonlinearity, without which the sum of two terms would be left.

    Args:
        width: h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.span = nn.Linear(width, width)  # W_m
        self.word = nn.Linear(width, width)  # W_t
        self.score = nn.Linear(width, 1)

    def forward(self, spans: Tensor, words: Tensor) -> Tensor:
        """Logits. *Shapes:* (B, N, h), (B, M, h) -> (B, N, M)."""
        return self.score(functional.gelu(self.span(spans)[:, :, None] + self.word(words)[:, None])).squeeze(-1)


class BilinearScore(nn.Module):
    """The same from a matrix product, much cheaper.

    Args:
        width: h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.span = nn.Linear(width, width)  # W_m
        self.word = nn.Linear(width, width)  # W_t

    def forward(self, spans: Tensor, words: Tensor) -> Tensor:
        """Logits. *Shapes:* (B, N, h), (B, M, h) -> (B, N, M)."""
        return self.span(spans) @ self.word(words).transpose(1, 2) / math.sqrt(spans.shape[-1])


HEADS: Mapping[HeadVariant, type[SigmoidHeads] | type[PointerHeads]] = {"paper": SigmoidHeads, "pointer": PointerHeads}


def boundary_probabilities(output: ReasoningOutput, settings: HeadSettings) -> tuple[Tensor, Tensor]:
    """P^l and P^r as the variant was trained. *Shapes:* (B, N, M)."""
    if settings.variant == "paper":
        return output.left.sigmoid(), output.right.sigmoid()
    return output.left.softmax(-1), output.right.softmax(-1)


@torch.no_grad()
def predicted_spans(output: ReasoningOutput) -> Tensor:
    """z_0 as words: the most probable first and last word of each span. *Shape:* (B, N, 2)."""
    return torch.stack([output.left.argmax(-1), output.right.argmax(-1)], dim=-1)
