"""Candidates, their scores, and the flat choice among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import POSTS, batch_of

from dpe_mner.decoding.candidates import Candidates, choose, merge_steps, rows_of, sort_candidates
from dpe_mner.predictor import decode_trace
from dpe_mner.reasoning.decode import step_candidates
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.settings import HeadSettings


def candidates(*rows):
    spans = np.array([[row[:2] for row in rows]])
    return Candidates(spans, np.array([[r[2] for r in rows]]), np.array([[r[3] for r in rows]], dtype=np.float32))


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
    merged = merge_steps([one, two], combine="mean")
    assert rows_of_merged(merged) == pytest.approx({(0, 1, 1): 0.7, (3, 3, 2): 0.3, (0, 1, 2): 0.1})
    assert merged.scores[0].tolist() == sorted(merged.scores[0].tolist(), reverse=True)


def test_the_papers_boundaries_are_asked_word_by_word():
    logits = torch.tensor([[[2.0, 2.0, -9.0]]])
    found = step_candidates(
        ReasoningOutput(logits, logits, torch.tensor([[[-9.0, 9.0]]])), HeadSettings(variant="paper")
    )
    p = float(torch.sigmoid(torch.tensor(2.0)))
    assert found.scores[0].tolist() == pytest.approx([p * p], rel=1e-4)  # two likely words do not share one probability


def rows_of_merged(merged):
    rows = zip(merged.spans[0].tolist(), merged.labels[0].tolist(), merged.scores[0].tolist(), strict=True)
    kept = [((*span, label), score) for span, label, score in rows if score > 0]
    assert len(dict(kept)) == len(kept)  # each candidate once
    return dict(kept)


@pytest.mark.parametrize("combine", ["mean", "max", "last"])
@pytest.mark.parametrize("steps", [1, 3])
def test_steps_are_combined_as_told(combine, steps):
    """Against a loop. Within a step the best of equal spans counts; a step that lacks a candidate counts as 0."""
    drawn = torch.Generator().manual_seed(steps)
    rows = [
        [
            (*torch.randint(0, 2, (2,), generator=drawn).tolist(), 1, float(torch.rand((), generator=drawn)))
            for _ in "abc"
        ]
        for _ in range(steps)
    ]
    best = [{} for _ in rows]
    for step, found in zip(best, rows, strict=True):
        for *key, score in found:
            step[tuple(key)] = max(step.get(tuple(key), 0.0), score)
    every = {key for step in (best[-1:] if combine == "last" else best) for key in step}
    how = {
        "mean": lambda scores: sum(scores) / len(scores),
        "max": max,
        "last": lambda scores: scores[-1],
    }[combine]
    wanted = {key: how([step.get(key, 0.0) for step in best]) for key in every}
    merged = merge_steps([candidates(*found) for found in rows], combine=combine)
    assert rows_of_merged(merged) == pytest.approx(wanted)


def test_the_setting_says_how_steps_are_combined(build):
    scores = {}
    for combine in ("mean", "max", "last"):
        model = build(reasoning={"combine": combine})
        trace = model.reason(batch_of(model, POSTS[:1]))
        steps = [step_candidates(s.output, model.settings.heads).on_host() for s in trace.steps]
        merged = merge_steps(steps, combine=combine)
        scores[combine] = merged.scores[0, 0]
        assert decode_trace(model, trace, threshold=0.0) == rows_of(merged, choose(merged, 0.0))
    assert scores["max"] >= scores["last"]
    assert len({float(score) for score in scores.values()}) > 1


def test_merging_one_step_keeps_it():
    merged = merge_steps([candidates((0, 0, 1, 0.5), (2, 2, 1, 0.9))], combine="last")
    assert merged.scores[0].tolist() == pytest.approx([0.9, 0.5])


def test_slot_order_never_decides():
    rows = [(0, 0, 1, 0.5), (2, 3, 2, 0.5), (2, 3, 1, 0.5), (5, 5, 3, 0.7)]
    one = sort_candidates(candidates(*rows))
    other = sort_candidates(candidates(*reversed(rows)))
    assert np.array_equal(one.spans, other.spans)
    assert np.array_equal(one.labels, other.labels)


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
    spans = torch.stack([torch.stack([p[0], p[1]], -1) for p in posts]).numpy()
    labels, scores = (torch.stack([p[k] for p in posts]).numpy() for k in (2, 3))
    found = sort_candidates(Candidates(spans, labels, scores))
    chosen = choose(found, 0.2)
    for post, (left, right, label, score) in enumerate(posts):
        rows = list(zip(left.tolist(), right.tolist(), label.tolist(), score.tolist(), strict=True))
        ours = [
            (*found.spans[post, k].tolist(), int(found.labels[post, k]), float(found.scores[post, k]))
            for k in chosen[post].nonzero()[0].tolist()
        ]
        assert sorted(ours) == greedy(rows, float(torch.tensor(0.2)))


def test_a_candidate_needs_the_threshold():
    found = sort_candidates(candidates((0, 0, 1, 0.5), (2, 2, 2, 0.6), (4, 4, 1, 0.6)))
    assert found.labels[0][choose(found, 0.6)[0]].tolist() == [2, 1]
