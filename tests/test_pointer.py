"""Boundaries that H_m moves from where the span stands."""

from __future__ import annotations

import pytest
import torch
from conftest import batch_of

from dpe_mner.reasoning.heads import PointerHeads, SigmoidHeads
from dpe_mner.reasoning.pointer import REACH, Displacement, EntityLength


def clip(distance: int) -> int:
    return max(-REACH, min(REACH, distance)) + REACH


@torch.no_grad()
def test_displacement_against_brute_force():
    torch.manual_seed(0)
    shift = Displacement(6)
    features, ends, words = torch.randn(2, 4, 6), torch.randint(0, 14, (2, 4, 2)), 14
    scores = shift(features, ends, words)
    first, second = shift.scores(features).chunk(2, dim=-1)
    for b, n, word in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(words)).tolist():
        one, other = ends[b, n].tolist()
        wanted = float(first[b, n, clip(word - one)] + second[b, n, clip(word - other)])
        assert abs(float(scores[b, n, word]) - wanted) < 1e-5


@torch.no_grad()
def test_length_against_brute_force():
    length = EntityLength()
    length.bias.normal_(generator=torch.Generator().manual_seed(0))
    p_left = torch.rand(2, 3, 12).softmax(-1)
    given = length(p_left)
    for b, n, word in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(12)).tolist():
        expected = sum(float(32 * p_left[b, n, i] * length.bias[clip(word - i)]) for i in range(12))
        assert abs(float(given[b, n, word]) - expected) < 1e-3


def test_a_fresh_pointer_looks_near_its_first_end_and_learns_otherwise(build, posts):
    scores = Displacement(6)(torch.zeros(1, 1, 6), torch.tensor([[[3, 9]]]), 12)[0, 0]
    assert scores.tolist() == [-0.5 * min(abs(word - 3), REACH) for word in range(12)]
    given = EntityLength()(torch.eye(12)[None, 5:6])[0, 0]
    assert given.tolist() == [-0.5 * abs(word - 5) for word in range(12)]
    model = build().train()
    model(batch_of(model, posts, gold=True), torch.Generator().manual_seed(0)).loss.backward()
    heads = model.network.heads
    for part in (heads.left_shift, heads.right_shift, heads.length):
        assert all(float(parameter.grad.abs().sum()) > 0 for parameter in part.parameters())


@pytest.mark.parametrize("heads_of", [SigmoidHeads, PointerHeads])
@torch.no_grad()
def test_types_are_a_function_of_the_state_alone(heads_of):
    """Spans, words and padding differ; with one H_m for all of them there is one answer."""
    torch.manual_seed(0)
    heads = heads_of(width=8, classes=3, dropout=0.0)
    state = torch.randn(8)
    ends, words = torch.randint(0, 5, (2, 4, 2)), torch.randn(2, 5, 8)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    types = heads(state.expand(2, 4, 8), ends, words, mask).types
    assert torch.equal(types, types[:1, :1].expand_as(types))


@pytest.mark.parametrize("variant", ["paper", "pointer"])
def test_padding_stays_closed(build, posts, variant):
    model = build(heads={"variant": variant})
    output = model.reason(batch_of(model, posts)).steps[-1].output
    lengths = torch.tensor([len(post.words) for post in posts])
    beyond = torch.arange(output.left.shape[-1]) >= lengths[:, None, None]
    for logits in (output.left, output.right):
        assert torch.isneginf(logits.masked_select(beyond.expand_as(logits))).all()
        assert torch.isfinite(logits.masked_select(~beyond.expand_as(logits))).all()
