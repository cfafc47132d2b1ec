"""Matcher and losses."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from dpe_mner.objective.losses import alignment_loss, entity_loss, tagging_loss
from dpe_mner.objective.matcher import HungarianMatcher, matching_cost
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.representations.batch import GoldSpans


def random_output(B, N, M, C, seed=0, lengths=None):
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(B, N, M, generator=generator) for _ in range(2))
    for post, length in enumerate(lengths or [M] * B):
        left[post, :, length:] = float("-inf")
        right[post, :, length:] = float("-inf")
    return ReasoningOutput(left, right, torch.randn(B, N, C, generator=generator))


def gold_of(rows, M):
    E = max(max(len(r) for r in rows), 1)
    spans, labels = torch.zeros(len(rows), E, 2, dtype=torch.long), torch.zeros(len(rows), E, dtype=torch.long)
    for post, row in enumerate(rows):
        for k, (left, right, label) in enumerate(row):
            spans[post, k], labels[post, k] = torch.tensor([left, right]), label
    return GoldSpans(spans, labels, torch.tensor([len(r) for r in rows]), torch.zeros(len(rows), M, dtype=torch.long))


def test_cost_is_minus_the_log_probability_of_the_gold():
    output, gold = random_output(1, 2, 4, 3), gold_of([[(1, 3, 2)]], 4)
    cost = matching_cost(output, gold)
    p = output.left.softmax(-1)[0, 1, 1] * output.right.softmax(-1)[0, 1, 3] * output.types.softmax(-1)[0, 1, 2]
    assert float(cost[0, 1, 0]) == pytest.approx(-float(p.log()), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_matcher_agrees_with_brute_force(seed):
    output = random_output(3, 5, 6, 4, seed)
    gold = gold_of([[(0, 1, 1), (2, 2, 2), (3, 5, 3)], [(1, 1, 1)], [(0, 0, 3), (5, 5, 1)]], 6)
    assigned = HungarianMatcher(share=0.0)(output, gold)
    cost = matching_cost(output, gold)
    for post, count in enumerate(gold.count.tolist()):
        best = min(
            sum(float(cost[post, row, k]) for k, row in enumerate(rows)) for rows in permutations(range(5), count)
        )
        rows = [int((assigned[post] == k).nonzero()) for k in range(count)]
        assert sum(float(cost[post, row, k]) for k, row in enumerate(rows)) == pytest.approx(best, rel=1e-6)
        assert int((assigned[post] >= 0).sum()) == count


def test_posts_are_matched_alike_alone_and_together():
    output = random_output(2, 6, 5, 4)
    gold = gold_of([[(0, 1, 1)], [(2, 2, 2), (3, 4, 1)]], 5)
    together = HungarianMatcher(share=0.7)(output, gold)
    for post in range(2):
        alone = ReasoningOutput(
            output.left[post : post + 1], output.right[post : post + 1], output.types[post : post + 1]
        )
        one = GoldSpans(
            gold.spans[post : post + 1], gold.labels[post : post + 1], gold.count[post : post + 1], gold.tags
        )
        assert torch.equal(HungarianMatcher(share=0.7)(alone, one)[0], together[post])


def test_no_gold_and_more_gold_than_spans():
    output = random_output(2, 3, 6, 4)
    gold = gold_of([[], [(k, k, 1) for k in range(6)]], 6)
    assigned = HungarianMatcher(share=0.7)(output, gold)
    assert (assigned[0] == -1).all()
    assert len(set(assigned[1].tolist())) == 3
    assert (assigned[1] >= 0).all()


def test_some_spans_answer_no_entity_inside_posts_with_entities():
    output, gold = random_output(1, 10, 6, 4), gold_of([[(0, 1, 1), (3, 3, 2)]], 6)
    assigned = HungarianMatcher(share=0.7)(output, gold)
    assert int((assigned == -1).sum()) == 3


@pytest.mark.parametrize("variant", ["pointer", "paper"])
def test_entity_loss_is_finite_and_differentiable_everywhere(variant):
    for dtype in (torch.float32, torch.bfloat16):
        output = random_output(3, 4, 6, 4, lengths=[6, 1, 3])
        leaves = [t.to(dtype).requires_grad_() for t in (output.left, output.right, output.types)]
        gold = gold_of([[(0, 5, 1)], [], [(2, 2, 3)]], 6)
        typed = ReasoningOutput(leaves[0].float(), leaves[1].float(), leaves[2].float())
        assigned = HungarianMatcher()(typed, gold)
        loss = entity_loss(typed, gold, assigned, variant=variant)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


@pytest.mark.parametrize("variant", ["pointer", "paper"])
def test_entity_loss_by_hand(variant):
    output, gold = random_output(1, 3, 4, 3, lengths=[3]), gold_of([[(0, 2, 1), (1, 1, 2)]], 4)
    assigned = torch.tensor([[1, -1, 0]])
    left, right = output.left[0, :, :3], output.right[0, :, :3]

    def boundary(logits, word):
        if variant == "pointer":
            return -float(logits.log_softmax(-1)[word])
        p = logits.sigmoid()
        return -sum(float(p[w].log() if w == word else (1 - p[w]).log()) for w in range(3))  # padding is not asked

    types = -sum(float(output.types[0, n].log_softmax(-1)[c]) for n, c in ((0, 2), (1, 0), (2, 1))) / 3
    matched = ((0, 1, 1), (2, 0, 2))
    boundaries = sum(boundary(left[n], first) + boundary(right[n], last) for n, first, last in matched) / 2
    loss = entity_loss(output, gold, assigned, variant=variant)
    assert float(loss) == pytest.approx(types + boundaries, rel=1e-5)


def test_a_batch_without_any_entity_still_teaches_no_entity():
    output = random_output(2, 4, 5, 4)
    types = output.types.clone().requires_grad_()
    gold = gold_of([[], []], 5)
    typed = ReasoningOutput(output.left, output.right, types)
    loss = entity_loss(typed, gold, HungarianMatcher()(typed, gold), variant="pointer")
    loss.backward()
    assert float(loss) == pytest.approx(float(-types.log_softmax(-1)[..., 0].mean()), rel=1e-5)
    assert types.grad.abs().sum() > 0


def test_alignment_loss_by_hand():
    logits = torch.tensor([[2.0, -1.0], [0.5, 1.0]])
    t2i = -(logits.log_softmax(1).diagonal())
    i2t = -(logits.log_softmax(0).diagonal())
    expected = (0.25 * t2i + 0.75 * i2t).mean()
    loss = alignment_loss(logits, torch.tensor([True, True]), lambda_rel=0.25)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_posts_without_a_picture_leave_the_alignment_loss():
    logits = torch.randn(4, 4)
    keep = torch.tensor([0, 2, 3])
    present = torch.tensor([True, False, True, True])
    small = alignment_loss(logits[keep][:, keep], torch.ones(3, dtype=torch.bool), lambda_rel=0.5)
    assert float(alignment_loss(logits, present, lambda_rel=0.5)) == pytest.approx(float(small))
    alone = alignment_loss(logits, torch.tensor([True, False, False, False]), lambda_rel=0.5)
    assert float(alone) == 0.0


def test_tagging_loss_ignores_padding():
    gold = GoldSpans(torch.zeros(1, 1, 2), torch.zeros(1, 1), torch.tensor([0]), torch.tensor([[0, 0, -100]]))
    tags = torch.randn(1, 3, 9)
    other = tags.clone()
    other[0, 2] += 5
    assert tagging_loss(tags, gold) == tagging_loss(other, gold)


def test_anchored_spans_answer_for_what_is_near_them():
    output = random_output(2, 6, 12, 4)
    gold = gold_of([[(2, 3, 1), (8, 8, 2)], []], 12)
    anchors = torch.tensor([[0, 1, 3, 5, 7, 11], [0, 2, 4, 6, 8, 10]])
    assigned = HungarianMatcher(reach=1)(output, gold, anchors)
    assert (assigned[1] == -1).all()
    by_place = [-1, 0, 0, -1, 1, -1]
    differ = [k for k in range(6) if int(assigned[0, k]) != by_place[k]]
    assert len(differ) <= 2  # only the owner that each gold span chose by cost may stand elsewhere
    assert {0, 1} <= set(assigned[0].tolist())


def test_every_gold_span_gets_an_answer_even_when_no_anchor_is_near():
    output, gold = random_output(1, 4, 20, 4), gold_of([[(15, 16, 1), (18, 19, 2)]], 20)
    assigned = HungarianMatcher(reach=0)(output, gold, torch.tensor([[0, 1, 2, 3]]))
    assert sorted(assigned[0].tolist()) == [-1, -1, 0, 1]
