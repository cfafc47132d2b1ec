"""BERT-Span: every span up to a length is classified (Eberts and Ulges, 2020, 3.1), the best without overlap kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.baselines.network import Baseline
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.span_table import SpanTable, inside_post, span_table_loss
from dpe_mner.decoding.candidates import Candidates, Row, choose, rows_of, sort_candidates
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.text import TextEncoder


class BertSpan(Baseline):
    """Classifies spans of words.

    Args:
        text_encoder: Pretrained.
        classes: C, "no entity" included.
        settings: Dropout and the span classifier's.
    """

    def __init__(self, text_encoder: TextEncoder, *, classes: int, settings: BaselineSettings) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.dropout = nn.Dropout(settings.dropout)
        span = settings.span
        self.spans = SpanTable(
            width=text_encoder.width,
            classes=classes,
            max_length=span.max_length,
            hidden_size=span.hidden_size,
            length_size=span.width_size,
            pooling=span.pooling,
            dropout=settings.dropout,
        )

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Cross-entropy over all spans, a mean over posts."""
        assert batch.gold is not None
        return span_table_loss(self.spans(self.dropout(self.words(batch))), batch.gold, batch.lengths)

    def words(self, batch: Batch) -> Tensor:
        """What spans are made of. *Shape:* (B, M, e)."""
        x_t: Tensor = self.text_encoder(batch).x_t
        return x_t

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Spans whose best class is an entity, best first, none overlapping a better one."""
        scores = self.spans(self.words(batch)).float().softmax(-1)
        candidates = span_candidates(scores, batch.lengths)
        keep = choose(candidates, 0.0)
        return [sorted(rows) for rows in rows_of(candidates, keep)]


def span_candidates(scores: Tensor, lengths: Tensor) -> Candidates:
    """The spans whose best class is an entity, with that class's probability.

    Args:
        scores: Probabilities. *Shape:* (B, M, L, C)
        lengths: *Shape:* (B,)

    Returns:
        Best first; as many slots as the post with most candidates needs.
    """
    M, L = scores.shape[1:3]
    best = scores.max(-1)
    wanted = ((best.indices > 0) & inside_post(lengths, M, L)).flatten(1)
    top = torch.where(wanted, best.values.flatten(1), 0.0).topk(max(int(wanted.sum(1).max()), 1))
    first, extent = top.indices // L, top.indices % L
    spans = torch.stack([first, first + extent], dim=-1)
    labels = best.indices.flatten(1).gather(1, top.indices)
    return sort_candidates(Candidates(*(part.cpu().numpy() for part in (spans, labels, top.values))))
