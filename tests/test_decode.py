"""Candidates, their scores, and the flat choice among them."""

from __future__ import annotations

import pytest
import torch

from dpe_mner.reasoning.decode import Candidates, choose, merge_steps, sort_candidates, step_candidates
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.settings import HeadSettings


def candidates(*rows):
    spans = torch.tensor([[row[:2] for row in rows]])
    return Candidates(spans, torch.tensor([[r[2] for r in rows]]), torch.tensor([[r[3] for r in rows]]))


def peaked(index, size, p=0.9):
    logits = torch.full((size,), float(torch.tensor((1 - p) / (size - 1)).log()))
    logits[index] = float(torch.tensor(p).log())
    return logits


def test_score_is_the_product_and_backward_spans_score_nothing():
    output = ReasoningOutput(
        left=torch.stack([peaked(1, 4), peaked(3, 4)])[None],
        right=torch.stack([peaked(2, 4, 0.8), peaked(0, 4)])[None],
        types=torch.stack([peaked(2, 5, 0.7), peaked(1, 5)])[None],
    )
    found = step_candidates(output, HeadSettings(variant="pointer"))
    assert found.spans[0, 0].tolist() == [1, 2]
    assert found.labels[0].tolist() == [2, 1]
    assert found.scores[0].tolist() == pytest.approx([0.9 * 0.8 * 0.7, 0.0])


def test_merging_takes_the_best_of_a_step_and_the_mean_over_all_steps():
    """With K steps all K count, the last too."""
    one = candidates((0, 1, 1, 0.8), (0, 1, 1, 0.4), (3, 3, 2, 0.6))
    two = candidates((0, 1, 1, 0.6), (0, 1, 2, 0.2), (4, 4, 1, 0.0))
    merged = merge_steps([one, two])
    rows = {
        (*span, label): score
        for span, label, score in zip(
            merged.spans[0].tolist(), merged.labels[0].tolist(), merged.scores[0].tolist(), strict=True
        )
        if score > 0
    }
    assert rows == pytest.approx({(0, 1, 1): 0.7, (3, 3, 2): 0.3, (0, 1, 2): 0.1})
    assert merged.scores[0].tolist() == sorted(merged.scores[0].tolist(), reverse=True)


def test_the_papers_boundaries_are_asked_word_by_word():
    logits = torch.tensor([[[2.0, 2.0, -9.0]]])
    found = step_candidates(
        ReasoningOutput(logits, logits, torch.tensor([[[-9.0, 9.0]]])), HeadSettings(variant="paper")
    )
    p = float(torch.sigmoid(torch.tensor(2.0)))
    assert found.scores[0].tolist() == pytest.approx([p * p], rel=1e-4)  # two likely words do not share one probability


@pytest.mark.parametrize(("combine", "score"), [("mean", 0.4), ("max", 0.6), ("last", 0.2)])
def test_steps_are_combined_as_told(combine, score):
    steps = [candidates((0, 1, 1, value)) for value in (0.4, 0.6, 0.2)]
    merged = merge_steps(steps, combine=combine)
    assert merged.scores[0].max().item() == pytest.approx(score)


def test_merging_one_step_keeps_it():
    merged = merge_steps([candidates((0, 0, 1, 0.5), (2, 2, 1, 0.9))])
    assert merged.scores[0].tolist() == pytest.approx([0.9, 0.5])


def test_slot_order_never_decides():
    rows = [(0, 0, 1, 0.5), (2, 3, 2, 0.5), (2, 3, 1, 0.5), (5, 5, 3, 0.7)]
    one = sort_candidates(candidates(*rows))
    other = sort_candidates(candidates(*reversed(rows)))
    assert torch.equal(one.spans, other.spans)
    assert torch.equal(one.labels, other.labels)


def greedy(rows, threshold):
    kept = []
    for row in sorted(rows, key=lambda r: -r[3]):
        if row[3] > 0 and row[3] >= threshold and all(row[1] < k[0] or row[0] > k[1] for k in kept):
            kept.append(row)
    return sorted(kept)


@pytest.mark.parametrize("seed", range(20))
def test_choice_equals_the_greedy_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    posts = []
    for _ in range(4):
        left = torch.randint(0, 12, (15,), generator=generator)
        right = left + torch.randint(0, 4, (15,), generator=generator)
        label = torch.randint(1, 4, (15,), generator=generator)
        score = torch.rand(15, generator=generator)
        posts.append([left, right, label, score])
    spans = torch.stack([torch.stack([p[0], p[1]], -1) for p in posts])
    found = sort_candidates(Candidates(spans, torch.stack([p[2] for p in posts]), torch.stack([p[3] for p in posts])))
    chosen = choose(found, torch.full((4,), 0.2))
    for post, (left, right, label, score) in enumerate(posts):
        rows = list(zip(left.tolist(), right.tolist(), label.tolist(), score.tolist(), strict=True))
        ours = [
            (*found.spans[post, k].tolist(), int(found.labels[post, k]), float(found.scores[post, k]))
            for k in chosen[post].nonzero().flatten().tolist()
        ]
        assert sorted(ours) == greedy(rows, float(torch.tensor(0.2)))


def test_thresholds_go_by_class():
    found = sort_candidates(candidates((0, 0, 1, 0.5), (2, 2, 2, 0.5)))
    chosen = choose(found, torch.tensor([0.0, 0.6, 0.4]))
    assert found.labels[0][chosen[0]].tolist() == [2]
