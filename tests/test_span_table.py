"""The span table of BERT-Span against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch

from dpe_mner.baselines.span_table import SpanTable, inside_post, span_labels, span_table_loss
from dpe_mner.representations.batch import GoldSpans

CLASSES = 4


def gold_of(rows) -> GoldSpans:
    E = max(map(len, rows)) or 1
    spans, labels = torch.zeros(len(rows), E, 2, dtype=torch.long), torch.zeros(len(rows), E, dtype=torch.long)
    for b, row in enumerate(rows):
        for e, (first, last, label) in enumerate(row):
            spans[b, e], labels[b, e] = torch.tensor([first, last]), label
    return GoldSpans(spans, labels, torch.tensor([len(r) for r in rows]), torch.zeros(len(rows), 1))


def test_span_labels_against_brute_force():
    lengths, words, longest = [6, 3, 1], 6, 4
    gold = [[(0, 0, 2), (1, 4, 1), (0, 4, 3), (0, 5, 3)], [], [(0, 0, 1)]]  # two are longer than four words
    labels = span_labels(gold_of(gold), torch.tensor(lengths), words, longest).tolist()
    for b, first, extent in itertools.product(range(3), range(words), range(longest)):
        last = first + extent
        wanted = -100 if last >= lengths[b] else 0
        wanted = next((c for f, t, c in gold[b] if (f, t) == (first, last)), wanted)
        assert labels[b][first][extent] == wanted, (b, first, last)


@pytest.mark.parametrize("pooling", ["max", "mean"])
@torch.no_grad()
def test_span_scores_against_brute_force(pooling):
    torch.manual_seed(0)
    table = SpanTable(width=7, classes=CLASSES, max_length=3, hidden_size=6, pooling=pooling, dropout=0.0)
    x_t, lengths = torch.randn(2, 5, 7), torch.tensor([5, 2])
    logits = table(x_t)
    seen = 0
    for b, first, extent in inside_post(lengths, 5, 3).nonzero().tolist():
        words = x_t[b, first : first + extent + 1]
        assert len(words) == extent + 1
        pooled = words.amax(0) if pooling == "max" else words.mean(0)
        hidden = table.first(words[0]) + table.last(words[-1]) + table.inside(pooled)
        hidden += table.length(table.lengths(torch.tensor(extent)))
        torch.testing.assert_close(logits[b, first, extent], table.output(hidden), atol=1e-5, rtol=1e-5)
        seen += 1
    assert seen == (5 + 4 + 3) + (2 + 1)


def test_the_loss_ignores_what_lies_behind_a_post():
    gold = gold_of([[(0, 0, 2)], [(0, 1, 1)]])
    table = torch.randn(2, 4, 2, CLASSES)
    lengths = torch.tensor([4, 2])
    loss = span_table_loss(table, gold, lengths)
    behind = ~inside_post(lengths, 4, 2)
    torch.testing.assert_close(loss, span_table_loss(table.masked_fill(behind[..., None], 7.0), gold, lengths))
    assert abs(float(loss) - float(span_table_loss(table + torch.randn_like(table), gold, lengths))) > 1e-3
