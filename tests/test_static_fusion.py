"""The static fusion strategies of Table 3."""

from __future__ import annotations

import pytest
import torch
from conftest import POSTS, batch_of
from helpers import image_features

from dpe_mner.fusion.static import StaticFusion
from dpe_mner.fusion.visual import GrainStates, VisualStates
from dpe_mner.model import DPEMNERModel
from dpe_mner.settings import FusionSettings
from dpe_mner.types import Post

STRATEGIES = ["max-pool", "mean-pool", "mlp", "moe"]
strategies = pytest.mark.parametrize("strategy", STRATEGIES)


def context_of(model, batch):
    text, visual = model.encode(batch)
    times = torch.tensor([[999], [500], [3]]).expand(-1, len(batch))
    return text, model.network.prepare(text, visual, times, model.noise.signal_share(times))


@strategies
def test_fusion_is_the_same_at_every_step_and_sees_the_picture(build, posts, strategy):
    model = build(fusion={"strategy": strategy})
    other = [Post(id="a", words=posts[0].words, caption="quite another scene", tags=("dog",))]
    with torch.no_grad():
        text, context = context_of(model, batch_of(model, posts[:1]))
        _, changed = context_of(model, batch_of(model, other))
    for k in (1, 2):
        assert torch.equal(context.x_t_m[0], context.x_t_m[k])
        assert torch.equal(context.x_g_m[0], context.x_g_m[k])
    assert (context.x_t_m[0] - text.x_t).abs().max() > 1e-4
    assert (context.x_t_m[0] - changed.x_t_m[0]).abs().max() > 1e-4
    assert float(context.relevance.abs().max()) == 0


@strategies
def test_spans_meet_no_picture_by_themselves(build, posts, strategy):
    model = build(fusion={"strategy": strategy})
    trace = model.reason(batch_of(model, posts))
    assert all(float(step.relevance.abs().max()) == 0 for step in trace.steps)
    assert not hasattr(model.network, "bottlenecks")


@strategies
def test_a_post_without_vision_is_untouched_beside_one_with_it(build, strategy):
    model = build(fusion={"strategy": strategy})
    bare = Post(id="x", words=("Paris", "in", "spring"))
    images = image_features([bare, POSTS[0]], [False, True])
    with torch.no_grad():
        text, context = context_of(model, batch_of(model, [bare, POSTS[0]], images=images))
    assert torch.equal(context.x_t_m[0, 0], text.x_t[0])
    assert torch.equal(context.x_g_m[0, 0], text.x_g[0])


@strategies
def test_trains_without_alignment_and_survives_saving(build, posts, strategy, tmp_path):
    model = build(fusion={"strategy": strategy}).train()
    batch = batch_of(model, posts, gold=True, images=image_features(posts, [True, False, False, True]))
    output = model(batch, torch.Generator().manual_seed(0))
    output.loss.backward()
    assert not any(name.startswith("align") for name in output.parts)
    gradients = [p.grad for p in model.network.static_fusion.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    model.eval().save_pretrained(tmp_path)
    again = DPEMNERModel.from_pretrained(tmp_path)
    assert again.predict(posts) == model.predict(posts)
    explained = again.predict(posts[0], explain=True)
    assert [(s.image2text_weight, s.coarse_weight) for s in explained.steps] == [(0.5, 0.5)] * len(explained.steps)
    assert explained.grounding == []


def grains(states, mask):
    nothing = VisualStates(states[:, :0], mask[:, :0])
    return {
        "c": GrainStates(image=nothing, image2text=VisualStates(states, mask)),
        "f": GrainStates(image=nothing, image2text=nothing),
    }


@pytest.mark.parametrize(("strategy", "pool"), [("max-pool", torch.amax), ("mean-pool", torch.mean)])
def test_pooling_attends_to_one_vector_a_representation(strategy, pool):
    torch.manual_seed(0)
    fusion = StaticFusion(width=8, settings=FusionSettings(strategy=strategy, heads=2)).eval()
    x, words = torch.randn(1, 3, 8), torch.ones(1, 3, dtype=torch.bool)
    states, seen = torch.randn(1, 5, 8), torch.tensor([[True, True, True, False, False]])
    vector = pool(states[:, :3], dim=1, keepdim=True)
    expected = x + fusion.attentions[0](fusion.norm(x), vector)  # a single key: its value, whatever the query
    torch.testing.assert_close(fusion(x, words, grains(states, seen)), expected)


def test_experts_share_what_is_present():
    """With one representation present the gate is 1 on its expert, whatever the gate's weights are."""
    torch.manual_seed(0)
    fusion = StaticFusion(width=8, settings=FusionSettings(strategy="moe", heads=2)).eval()
    x, words = torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)
    states, seen = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    expected = x + fusion.attentions[1](fusion.norm(x), states, seen)  # the second expert reads y_ct
    torch.testing.assert_close(fusion(x, words, grains(states, seen)), expected)
