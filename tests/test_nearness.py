"""Boundary biases by distance."""

from __future__ import annotations

import torch
from conftest import batch_of

from dpe_mner.reasoning.nearness import Nearness


def clip(distance: int, reach: int) -> int:
    return max(-reach, min(reach, distance)) + reach


@torch.no_grad()
def test_biases_against_brute_force():
    torch.manual_seed(0)
    nearness = Nearness(3)
    for parameter in nearness.parameters():
        parameter.normal_()
    spans, p_left = torch.randint(0, 7, (2, 4, 2)), torch.rand(2, 4, 7).softmax(-1)
    biases, given = nearness(spans, 7), nearness.given_left(p_left)
    for side, bias in enumerate(biases):
        for b, n, word in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(7)).tolist():
            ends = spans[b, n].tolist()
            wanted = sum(float(32 * nearness.from_span[side, end, clip(word - ends[end], 3)]) for end in range(2))
            assert abs(float(bias[b, n, word]) - wanted) < 1e-3
            expected = sum(float(32 * p_left[b, n, i] * nearness.from_left[clip(word - i, 3)]) for i in range(7))
            assert abs(float(given[b, n, word]) - expected) < 1e-3


def test_a_fresh_model_is_not_changed_by_it_and_learns_it(build, posts):
    model = build(heads={"nearness": 4}).train()
    with torch.no_grad():
        for parameter in model.network.heads.nearness.parameters():
            parameter.zero_()
    plain = build()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "nearness" not in k})
    batch = batch_of(model, posts, gold=True)
    torch.manual_seed(0)
    loss = model(batch, torch.Generator().manual_seed(0)).loss
    torch.manual_seed(0)
    assert torch.equal(loss, plain.train()(batch, torch.Generator().manual_seed(0)).loss)
    loss.backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in model.network.heads.nearness.parameters())
    model.eval()
    together = model.predict(posts, batch_size=8)
    assert together == [model.predict([post])[0] for post in posts]


def test_padding_stays_closed(build, posts):
    model = build(heads={"nearness": 4})
    output = model.reason(batch_of(model, posts)).steps[-1].output
    lengths = torch.tensor([len(post.words) for post in posts])
    beyond = torch.arange(output.left.shape[-1]) >= lengths[:, None, None]
    for logits in (output.left, output.right):
        assert torch.isneginf(logits.masked_select(beyond.expand_as(logits))).all()
        assert torch.isfinite(logits.masked_select(~beyond.expand_as(logits))).all()
