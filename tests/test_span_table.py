"""The span table: against brute force, in the type head, in the vote."""

from __future__ import annotations

import itertools

import pytest
import torch
from conftest import POSTS, batch_of

from dpe_mner.objective.losses import span_labels, span_table_loss
from dpe_mner.reasoning.decode import step_candidates
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.reasoning.span_table import SpanTable, expected_classes, inside_post, look_up
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


def test_expected_classes_against_brute_force():
    torch.manual_seed(0)
    B, N, M, L = 2, 3, 5, 2
    p_left, p_right = torch.rand(B, N, M).softmax(-1), torch.rand(B, N, M).softmax(-1)
    classes = torch.rand(B, M, L, CLASSES).softmax(-1)
    wanted = torch.zeros(B, N, CLASSES)
    for b, n, m, k in itertools.product(range(B), range(N), range(M), range(L)):
        if m + k < M:
            wanted[b, n] += p_left[b, n, m] * p_right[b, n, m + k] * classes[b, m, k]
    torch.testing.assert_close(expected_classes(p_left, p_right, classes), wanted)


def test_looking_up_spans_outside_the_table_says_so():
    table = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    left, right = torch.tensor([[0, 1, 2], [0, 2, 1]]), torch.tensor([[0, 2, 1], [2, 2, 2]])
    label = torch.tensor([[1, 0, 1], [1, 1, 0]])
    values, known = look_up(table, left, right, label)
    assert known.tolist() == [[True, True, False], [False, True, True]]
    for b, q in known.nonzero().tolist():
        assert values[b, q] == table[b, left[b, q], right[b, q] - left[b, q], label[b, q]]


def test_the_vote_moves_scores_of_spans_the_table_holds_and_no_others():
    torch.manual_seed(0)
    left, right = torch.full((1, 2, 4), -9.0), torch.full((1, 2, 4), -9.0)
    left[0, 0, 1] = right[0, 0, 2] = 9.0  # two words: held
    left[0, 1, 0] = right[0, 1, 3] = 9.0  # four words: not held
    types = torch.randn(1, 2, CLASSES)
    table = torch.randn(1, 4, 2, CLASSES)
    output = ReasoningOutput(left, right, types, None, table)
    own = step_candidates(output, boundary_loss="softmax")
    voted = step_candidates(output, boundary_loss="softmax", table_vote=0.25)
    label = int(own.labels[0, 0])
    held = table.softmax(-1)[0, 1, 1, label]
    torch.testing.assert_close(voted.scores[0, 0], 0.75 * own.scores[0, 0] + 0.25 * held)
    assert voted.scores[0, 1] == own.scores[0, 1]


def test_the_loss_ignores_what_lies_behind_a_post():
    gold = gold_of([[(0, 0, 2)], [(0, 1, 1)]])
    table = torch.randn(2, 4, 2, CLASSES)
    lengths = torch.tensor([4, 2])
    loss = span_table_loss(table, gold, lengths)
    behind = ~inside_post(lengths, 4, 2)
    torch.testing.assert_close(loss, span_table_loss(table.masked_fill(behind[..., None], 7.0), gold, lengths))
    assert abs(float(loss) - float(span_table_loss(table + torch.randn_like(table), gold, lengths))) > 1e-3


def test_a_model_with_a_table_learns_it_and_reads_it(build, posts):
    sections = {"heads": {"span_table": 3}, "reasoning": {"table_vote": 0.5}}
    model = build(**sections).train()
    output = model(batch_of(model, posts, gold=True), torch.Generator().manual_seed(0))
    output.loss.backward()
    assert "span_table" in output.parts
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.network.heads.table.parameters())
    model.eval()
    batch = batch_of(model, POSTS[:2])
    before = model.reason(batch).steps[0].output
    assert before.table.shape == (2, batch.words, 3, 5)
    with torch.no_grad():
        model.network.heads.table.output[-1].bias[2] += 5.0
    after = model.reason(batch).steps[0].output
    assert (before.types - after.types).abs().max() > 1e-3  # the type head reads it
    together = model.predict(posts, batch_size=8)
    assert together == [model.predict([post])[0] for post in posts]
