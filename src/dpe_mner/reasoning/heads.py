"""Multi-modal-guided entity reasoning (2.3.2): two boundary pointers and a type classifier on separate features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.reasoning.nearness import Nearness
from dpe_mner.reasoning.pooling import mapped_words
from dpe_mner.reasoning.span_table import SpanTable, expected_classes
from dpe_mner.settings import HeadSettings


@dataclass(frozen=True)
class ReasoningOutput:
    """What one reasoning step says of N spans.

    Attributes:
        left: Logits of each word as the first word of the entity, -inf on padding. *Shape:* (B, N, M)
        right: The same for the last word. *Shape:* (B, N, M)
        types: Logits over the C classes, 0 is "no entity". *Shape:* (B, N, C)
        tags: Auxiliary tagging logits of the words, or None. *Shape:* (B, M, 2 (C - 1) + 1)
        table: Auxiliary logits of all short spans, or None. *Shape:* (B, M, L, C)
    """

    left: Tensor
    right: Tensor
    types: Tensor
    tags: Tensor | None
    table: Tensor | None = None


class BoundaryPointer(nn.Module):
    """P^delta for delta in {l, r}: additive as in the paper, or bilinear (a matrix product, much cheaper).

    Args:
        width: h.
        word_width: Width of the word features.
        score: ``additive`` or ``bilinear``.
    """

    def __init__(self, *, width: int, word_width: int, score: str) -> None:
        super().__init__()
        self.span = nn.Linear(width, width)  # W_m
        self.word = nn.Linear(word_width, width)  # W_t
        self.score = nn.Linear(width, 1) if score == "additive" else None

    def forward(self, spans: Tensor, words: Tensor) -> Tensor:
        """Logits. *Shapes:* (B, N, h), (B, M, word_width) -> (B, N, M)."""
        span, word = self.span(spans), self.word(words)
        if self.score is None:
            return span @ word.transpose(1, 2) / math.sqrt(span.shape[-1])
        return self.score(functional.gelu(span[:, :, None] + word[:, None])).squeeze(-1)


class EntityHeads(nn.Module):
    """Disentangled boundary and type heads.

    Args:
        width: h.
        classes: C.
        settings: Which variants.
    """

    def __init__(self, *, width: int, classes: int, settings: HeadSettings, dropout: float) -> None:
        super().__init__()
        self.settings = settings
        self.boundary_features = nn.Linear(width, width)  # H_m^bound
        self.type_features = nn.Linear(width, width)  # H_m^type
        self.tag_count = beliefs = 2 * (classes - 1) + 1 if settings.tagging else 0
        self.tagger = nn.Linear(width, beliefs) if settings.tagging else None
        self.dropout = nn.Dropout(dropout)
        word_width = width + beliefs
        self.left = BoundaryPointer(width=width, word_width=word_width, score=settings.boundary_score)
        self.right = BoundaryPointer(width=width, word_width=word_width, score=settings.boundary_score)
        self.table = (
            SpanTable(
                width=word_width, classes=classes, max_length=settings.span_table, hidden_size=width, dropout=dropout
            )
            if settings.span_table
            else None
        )
        self.nearness = Nearness(settings.nearness) if settings.nearness else None
        pointed = 3 * word_width + beliefs if settings.type_input == "pointed" else 0
        if self.table is not None:
            pointed += classes
        self.pointed = (
            nn.Sequential(nn.Linear(width + pointed, width), nn.GELU(), nn.Dropout(dropout)) if pointed else None
        )
        self.types = nn.Linear(width, classes)

    def tag(self, words: Tensor) -> tuple[Tensor, Tensor | None]:
        """Words with their tag beliefs, and the tagging logits. *Shapes:* (B, M, word_width), (B, M, tags)."""
        if self.tagger is None:
            return words, None
        logits = self.tagger(self.dropout(words))
        return torch.cat([words, logits.float().softmax(-1).to(words.dtype)], dim=-1), logits

    def classify_all(self, words: Tensor) -> Tensor | None:
        """The span table. *Shapes:* (B, M, word_width) -> (B, M, L, C)."""
        return None if self.table is None else self.table(self.dropout(words))

    def forward(
        self,
        fused: Tensor,
        spans: Tensor,
        words: Tensor,
        tags: Tensor | None,
        table: Tensor | None,
        word_mask: Tensor,
    ) -> ReasoningOutput:
        """Decode H_m.

        Args:
            fused: H_m. *Shape:* (B, N, h)
            spans: Ends of the current spans. *Shape:* (B, N, 2)
            words: H_t with tag beliefs, from :meth:`tag`. *Shape:* (B, M, word_width)
            tags: Tagging logits.
            table: Logits of the span table.
            word_mask: *Shape:* (B, M)

        Returns:
            Logits of boundaries and types.
        """
        bound = functional.gelu(self.boundary_features(fused))
        kind = functional.gelu(self.type_features(fused))
        closed = ~word_mask[:, None, :]
        left, right = self.left(bound, words).float(), self.right(bound, words).float()
        if self.nearness is not None:
            near_left, near_right = self.nearness(spans, words.shape[1])
            left, right = left + near_left, right + near_right
        left = left.masked_fill(closed, float("-inf"))
        if self.nearness is not None:
            right = right + self.nearness.given_left(left.softmax(-1))
        right = right.masked_fill(closed, float("-inf"))
        if self.pointed is not None:
            kind = self._with_pointed_words(self.pointed, kind, left, right, words, table, word_mask)
        return ReasoningOutput(left=left, right=right, types=self.types(kind).float(), tags=tags, table=table)

    def _with_pointed_words(
        self,
        pointed: nn.Sequential,
        kind: Tensor,
        left: Tensor,
        right: Tensor,
        words: Tensor,
        table: Tensor | None,
        word_mask: Tensor,
    ) -> Tensor:
        """Type features with the softly pointed-at first and last word and the words between. *Shape:* (B, N, h)."""
        p_left, p_right = left.softmax(-1), right.softmax(-1)
        inside = p_left.cumsum(-1) * p_right.flip(-1).cumsum(-1).flip(-1)
        weights = [p_left, p_right, inside / inside.sum(-1, keepdim=True).clamp(min=1e-6)]
        pooled = [words] * 3
        if self.tagger is not None:  # would the entity go on behind its last word?
            weights.append(functional.pad(p_right[..., :-1], (1, 0)) * word_mask[:, None])
            pooled.append(words[..., -self.tag_count :])
        expand = cast(nn.Linear, pointed[0])
        parts = [kind, *pooled] if table is None else [kind, *pooled, table]
        columns = expand.weight.split([part.shape[-1] for part in parts], dim=1)
        mapped = functional.linear(kind, columns[0], expand.bias)
        among_words = mapped_words(pooled, columns[1 : 1 + len(pooled)])
        mapped = mapped + torch.cat(weights, dim=-1).to(among_words.dtype) @ among_words
        if table is not None:
            classes = expected_classes(p_left, p_right, table.float().softmax(-1)).to(words.dtype)
            mapped = mapped + functional.linear(classes, columns[-1])
        return cast(Tensor, pointed[1:](mapped))
