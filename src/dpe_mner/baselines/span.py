"""BERT-Span: every span up to a length is classified (Eberts and Ulges, 2020, 3.1), the best without overlap kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.network import Baseline
from dpe_mner.baselines.settings import BaselineSettings, SpanSettings
from dpe_mner.reasoning.decode import Candidates, choose, sort_candidates
from dpe_mner.reasoning.rows import Row, rows_of
from dpe_mner.representations.batch import Batch, GoldSpans
from dpe_mner.representations.text import TextEncoder

IGNORED = -100


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
        self.spans = SpanClassifier(text_encoder.width, classes, settings.span, dropout=settings.dropout)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Cross-entropy over all spans, a mean over posts."""
        assert batch.gold is not None
        logits = self.spans(self.dropout(self.text_encoder(batch).x_t)).float()
        gold = span_labels(batch.gold, batch.lengths, batch.words, self.spans.max_length)
        total = functional.cross_entropy(logits.flatten(0, 2), gold.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / len(batch)

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Spans whose best class is an entity, best first, none overlapping a better one."""
        scores = self.spans(self.text_encoder(batch).x_t).float().softmax(-1)
        candidates = span_candidates(scores, batch.lengths)
        keep = choose(candidates, scores.new_zeros(scores.shape[-1]))
        return [sorted(rows) for rows in rows_of(candidates, keep)]


class SpanClassifier(nn.Module):
    """Scores of ``[first word; last word; pooled words; length]`` through one hidden layer.

    The hidden layer is applied to words before they become spans wherever that is the same, which saves most of the
    multiplications: a word is in up to L (L + 1) / 2 spans of L words or fewer.

    Args:
        width: Of the word states.
        classes: C.
        settings: Length, pooling and widths.
        dropout: On the hidden layer.
    """

    def __init__(self, width: int, classes: int, settings: SpanSettings, *, dropout: float) -> None:
        super().__init__()
        self.max_length = settings.max_length
        self.pooling = settings.pooling
        self.first = nn.Linear(width, settings.hidden_size)
        self.last = nn.Linear(width, settings.hidden_size, bias=False)
        self.inside = nn.Linear(width, settings.hidden_size, bias=False)
        self.lengths = nn.Embedding(settings.max_length, settings.width_size)
        self.length = nn.Linear(settings.width_size, settings.hidden_size, bias=False)
        self.output = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(settings.hidden_size, classes))

    def forward(self, x_t: Tensor) -> Tensor:
        """Logits of the span of every first word and length.

        Args:
            x_t: *Shape:* (B, M, width)

        Returns:
            *Shape:* (B, M, L, C); a span that ends behind the post means nothing.
        """
        first = self.first(x_t)[:, :, None]
        last = _windows(self.last(x_t), self.max_length)
        if self.pooling == "max":
            inside = self.inside(_windows(x_t, self.max_length).cummax(2).values)
        else:
            count = torch.arange(1, self.max_length + 1, device=x_t.device)[:, None]
            inside = _windows(self.inside(x_t), self.max_length).cumsum(2) / count
        return self.output(first + last + inside + self.length(self.lengths.weight))


def _windows(x: Tensor, length: int) -> Tensor:
    """Each word and the L - 1 behind it. *Shape:* (B, M, h) to (B, M, L, h)."""
    return functional.pad(x, (0, 0, 0, length - 1)).unfold(1, length, 1).transpose(2, 3)


def inside_post(lengths: Tensor, words: int, max_length: int) -> Tensor:
    """Which spans end within their post. *Shape:* (B, M, L)."""
    last = torch.arange(words, device=lengths.device)[:, None] + torch.arange(max_length, device=lengths.device)
    return last < lengths[:, None, None]


def span_labels(gold: GoldSpans, lengths: Tensor, words: int, max_length: int) -> Tensor:
    """The class of every span; gold entities longer than L have none.

    Args:
        gold: Gold entities.
        lengths: *Shape:* (B,)
        words: M.
        max_length: L.

    Returns:
        0 for no entity, -100 behind the post. *Shape:* (B, M, L)
    """
    labels = torch.where(inside_post(lengths, words, max_length), 0, IGNORED)
    first, last = gold.spans.unbind(-1)
    real = torch.arange(first.shape[1], device=first.device) < gold.count[:, None]
    row, column = (real & (last - first < max_length)).nonzero(as_tuple=True)
    start = first[row, column]
    labels[row, start, last[row, column] - start] = gold.labels[row, column]
    return labels


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
    return sort_candidates(Candidates(spans, best.indices.flatten(1).gather(1, top.indices), top.values))
