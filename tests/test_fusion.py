"""Fusion: where weights and relevance act, how vision reaches the spans, what is gone when a level is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from conftest import POSTS, batch_of
from helpers import image_features, mirrored
from torch.nn import functional

from dpe_mner.evaluation.mean_state import constant_state
from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.bottom import fuse_weighted
from dpe_mner.fusion.direct import DirectTransformer
from dpe_mner.fusion.relevance import RelevanceGate
from dpe_mner.fusion.span_aggregator import RelativePositions, SpanAggregator
from dpe_mner.fusion.visual import Neighbours
from dpe_mner.objective.losses import doubt_loss
from dpe_mner.types import Post

EXCHANGES = ["direct", "parallel", "text-first"]
exchanges = pytest.mark.parametrize("kind", EXCHANGES)
ALL = [True] * len(POSTS)


def exchange_of(kind, *, layers=2):
    """An exchange of width 8."""
    sizes = {"width": 8, "heads": 2, "layers": layers, "ratio": 1.0, "dropout": 0.0}
    torch.manual_seed(0)
    return DirectTransformer(**sizes) if kind == "direct" else BottleneckTransformer(**sizes, tokens=2, order=kind)


def settings_of(kind):
    return {"exchange": "direct"} if kind == "direct" else {"exchange": "bottleneck", "bottleneck_order": kind}


def texts_and_pictures():
    """Two posts of 3 words and 5 visual positions."""
    torch.manual_seed(1)
    words, seen = torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 5, dtype=torch.bool)
    return torch.randn(2, 3, 8), words, torch.randn(2, 5, 8), seen


def prepared(model, batch, t):
    text, visual = model.encode(batch)
    times = torch.full((1, len(batch)), t)
    return model.network.prepare(text, visual, times, model.noise.signal_share(times))


# Weights and relevance


@exchanges
@torch.no_grad()
def test_what_weighs_nothing_is_not_seen_at_all(kind):
    exchange, (text, words, visual, seen) = exchange_of(kind, layers=3), texts_and_pictures()
    odds = torch.tensor([[0.3, 0.7, 0.7, 0.0, 0.0]]).expand(2, -1)
    other = torch.cat([visual[:, :3], torch.randn(2, 2, 8)], dim=1)
    fused = exchange(text, words, visual, seen, odds=odds)
    assert torch.equal(fused, exchange(text, words, other, seen, odds=odds))
    torch.testing.assert_close(fused, exchange(text, words, visual, seen & (odds > 0), odds=odds.clamp(min=0.1)))
    assert (fused - exchange(text, words, visual.flip(0), seen, odds=odds)).abs().max() > 1e-4


@exchanges
@torch.no_grad()
def test_relevance_mixes_each_position_with_the_text_itself(kind):
    exchange, (text, words, visual, seen) = exchange_of(kind), texts_and_pictures()
    weighted = (visual, seen, torch.rand(2, 5))
    whole = exchange(text, words, visual, seen, odds=weighted[2])
    relevance = torch.tensor([[0.0, 1.0, 0.25], [0.5, 0.0, 0.0]])
    mixed = fuse_weighted(text, words, weighted, relevance, exchange, "attention")
    assert torch.equal(mixed[relevance == 0], text[relevance == 0])
    torch.testing.assert_close(mixed, text + relevance[..., None] * (whole - text))
    of_post = fuse_weighted(text, words, weighted, torch.tensor([0.0, 1.0]), exchange, "attention")
    assert torch.equal(of_post[0], text[0])
    torch.testing.assert_close(of_post[1], whole[1])


@exchanges
@torch.no_grad()
def test_on_states_a_picture_without_relevance_says_nothing(kind):
    exchange, (text, words, visual, seen) = exchange_of(kind), texts_and_pictures()
    nothing = torch.zeros(2)
    one, other = (
        fuse_weighted(text, words, (states, seen, torch.rand(2, 5)), nothing, exchange, "states")
        for states in (visual, torch.randn(2, 5, 8))
    )
    torch.testing.assert_close(one, other)
    each = torch.rand(2, 3)  # the printed equation has one relevance a post: the mean of the spans'
    weights = torch.rand(2, 5)
    torch.testing.assert_close(
        fuse_weighted(text, words, (visual, seen, weights), each, exchange, "states"),
        exchange(text, words, visual, seen, scale=each.mean(1)[:, None] * weights),
    )


@torch.no_grad()
def test_at_the_first_step_a_picture_of_weight_0_is_not_seen(build, posts):
    model = build(fusion={"lambda_x": 0.0})
    images = image_features(posts, ALL)
    last = model.settings.noise.timesteps - 1
    one, other = (
        prepared(model, batch_of(model, posts, images=seen), last).x_t_m[0] for seen in (images, mirrored(images))
    )
    assert torch.equal(one[:1], other[:1])  # a post with caption and tags
    assert not torch.equal(one[1:2], other[1:2])  # without tags the regions are all there is of the fine grain


@torch.no_grad()
def test_without_relevance_words_stay_what_they_are(build, posts):
    model = build()
    for j in ("c", "f"):
        model.network.text_level("t").gate(j).offset.fill_(-1e9)
    context = prepared(model, batch_of(model, posts, images=image_features(posts, ALL)), 500)
    torch.testing.assert_close(context.x_t_m[0], context.x_t)  # up to the rounding of the sum of eq. 6


@torch.no_grad()
def test_each_span_has_a_relevance_of_its_own(build, posts):
    model = build()
    trace = model.reason(batch_of(model, posts))
    spans = model.settings.noise.spans
    for step in trace.steps:
        assert step.relevance.shape == (len(posts), spans, 2)
        assert float(step.relevance[0].std(0).min()) > 1e-3
        assert torch.equal(step.relevance[2], torch.zeros(spans, 2))  # a post without vision
        gate = model.network.text_level("s").gate("c")
        torch.testing.assert_close(step.relevance[1, :, 0], gate(step.x_s[1:2], trace.visual["c"].pooled[1:2])[0])
    assert trace.context.relevance.shape == (len(posts), 2, 2)


@torch.no_grad()
def test_a_text_and_the_words_of_its_own_picture_start_alike():
    torch.manual_seed(0)
    gate = RelevanceGate(width=32, rank=16)
    texts = torch.randn(20, 32)
    logits = gate.logits(texts, torch.cat([torch.zeros(20, 32), texts], dim=1))
    assert torch.equal(logits.argmax(1), torch.arange(20))
    assert 0.5 < float(gate(texts, torch.randn(20, 64)).mean()) < 0.9  # and a gate starts open


@pytest.mark.parametrize("width", [None, 16])
@torch.no_grad()
def test_captions_start_projected_as_the_words_are(build, width):
    network = build(fusion={"hidden_size": width}).network
    states = torch.randn(2, 3, 32)
    for projection in network.visual_projection.image2text.values():
        torch.testing.assert_close(projection(states), network.text_projection(states))


# Vision reaches the spans


@pytest.mark.parametrize("weights_on", ["states", "attention"])
@exchanges
def test_vision_has_a_gradient_from_the_first_step(build, posts, kind, weights_on):
    """Zeroed projections in series between a picture and H_m gave it none, and hardly any later."""
    without_alignment = {f"align_{i}": 0.0 for i in ("token", "sentence", "span")}
    model = build(fusion={**settings_of(kind), "weights_on": weights_on}, loss=without_alignment).train()
    batch = batch_of(model, posts, gold=True, images=image_features(posts, ALL))
    model(batch, torch.Generator().manual_seed(0)).loss.backward()
    projections = model.network.visual_projection
    words = max(float(p.grad.norm()) for p in model.network.span_projection.parameters())
    least = 1e-4 if (kind, weights_on) == ("text-first", "states") else 1e-3  # whole tokens beside scaled-down states
    for j in ("c", "f"):
        for part in (projections.image2text[j], projections.image[j][1]):
            assert float(part.weight.grad.norm()) > least * words


@pytest.mark.parametrize(("order", "asks"), [("parallel", False), ("text-first", True)])
@torch.no_grad()
def test_text_first_tokens_read_a_picture_by_the_text(order, asks):
    """Already in the first visual layer; side by side, they ask every post's picture the same."""
    mbt, (texts, words, visual, seen) = exchange_of(order), texts_and_pictures()
    readings = []
    mbt.visual_layers[0].register_forward_hook(lambda _layer, _inputs, read: readings.append(read))
    for text in texts:
        mbt(text[None], words[:1], visual[:1], seen[:1])
    assert readings[0].shape == (1, 2, 8)
    assert ((readings[0] - readings[1]).abs().max() > 1e-3) == asks
    assert torch.equal(*readings) != asks


# Spans look at words


@torch.no_grad()
def test_relative_positions_against_brute_force():
    torch.manual_seed(0)
    positions = RelativePositions(heads=3, reach=2)
    positions.bias.normal_()
    ends = torch.randint(0, 6, (2, 4, 2))
    bias = positions(ends, 6)
    for b, h, n, word in itertools.product(range(2), range(3), range(4), range(6)):
        wanted = sum(positions.bias[k, h, max(-2, min(2, word - int(ends[b, n, k]))) + 2] for k in range(2))
        torch.testing.assert_close(bias[b, h, n, word], wanted)


def test_positions_start_by_looking_near_the_first_end():
    bias = RelativePositions(heads=4, reach=3)(torch.tensor([[[2, 5]]]), 6)[0, :, 0]
    assert torch.equal(bias[0], torch.zeros(6))  # one head in four looks everywhere
    for slope, head in ((0.5, 1), (1.0, 2), (2.0, 3)):
        assert bias[head].tolist() == [-slope * min(abs(word - 2), 3) for word in range(6)]


@torch.no_grad()
def test_aggregating_with_positions_against_brute_force():
    torch.manual_seed(0)
    aggregator = SpanAggregator(width=8, heads=2, ratio=0.0, dropout=0.0, reach=2)
    aggregator.positions.bias.normal_()
    spans, words, ends = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randint(0, 5, (2, 3, 2))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    normed = aggregator.self_norm(spans)
    before = spans + aggregator.self_attention(normed, normed)
    attention, context = aggregator.cross_attention, aggregator.context_norm(words)
    bias = aggregator.positions(ends, 5)
    wanted = torch.zeros(2, 3, 8)
    for b, n in itertools.product(range(2), range(3)):
        query = attention.query(aggregator.cross_norm(before[b, n]))
        keys, values = attention.key_value(context[b]).chunk(2, dim=-1)
        mixed = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            logits = [
                float(query[part] @ keys[word, part]) / 4**0.5 + float(bias[b, head, n, word])
                if mask[b, word]
                else -1e9
                for word in range(5)
            ]
            mixed.append(torch.tensor(logits).softmax(-1) @ values[:, part])
        wanted[b, n] = before[b, n] + functional.linear(
            torch.cat(mixed), attention.output.weight, attention.output.bias
        )
    torch.testing.assert_close(aggregator(spans, words, mask, ends), wanted)


# What is switched off is off


LEVELS = {"t": "token_level", "g": "sentence_level", "s": "span_level"}


def answers(model, batch):
    return [(step.output.types, step.output.left, step.output.right) for step in model.reason(batch).steps]


def same(one, other):
    """Whether two lists of answers are equal to the last digit."""
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def scramble(module):
    """Other weights; a gate's single numbers too."""
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_without_a_level_its_fusion_is_not_there_and_with_it_it_decides(build, posts, level, off):
    """Table 2. With other weights in its fusion the default's answer changes."""
    model = build(fusion={LEVELS[level]: not off})
    batch = batch_of(model, posts, images=image_features(posts, ALL))
    computed = set()
    for i, fusion in model.network.fusion.items():
        fusion.register_forward_hook(lambda *_, i=i: computed.add(i))
    before = answers(model, batch)
    assert computed == set(model.network.fusion) == set(LEVELS) - ({level} if off else set())
    if not off:
        scramble(model.network.text_level(level))
        assert not same(before, answers(model, batch))


@pytest.mark.parametrize("level", LEVELS)
@torch.no_grad()
def test_of_a_single_level_only_its_own_fusion_reads_vision(build, posts, level):
    others = {switch: i == level for i, switch in LEVELS.items()}
    model = build(fusion=others)
    batch = batch_of(model, posts, images=image_features(posts, ALL))
    before = answers(model, batch)
    for j in ("c", "f"):
        model.network.text_level(level).gate(j).offset.fill_(-1e9)
    assert (before[0][0] - answers(model, batch)[0][0]).abs().max() > 1e-5  # vision came this way
    changed = batch_of(model, posts, images=mirrored(image_features(posts, ALL)))
    for one, other in zip(answers(model, batch), answers(model, changed), strict=True):
        torch.testing.assert_close(one, other)  # and no other


@torch.no_grad()
def test_without_any_level_no_picture_is_seen(build, posts):
    model = build(fusion=dict.fromkeys(LEVELS.values(), False))
    images = image_features(posts, ALL)
    one, other = (answers(model, batch_of(model, posts, images=seen)) for seen in (images, mirrored(images)))
    assert same(one, other)


def test_without_span_level_spans_pass_no_exchange(build, posts):
    counts = {}
    for span_level in (True, False):
        model = build(fusion={"span_level": span_level})
        lengths = []
        for exchange in model.network.exchanges.values():
            exchange.register_forward_pre_hook(lambda _, inputs, seen=lengths: seen.append(inputs[0].shape[1]))
        model.reason(batch_of(model, posts))
        counts[span_level] = lengths.count(model.settings.noise.spans)
    assert counts == {True: 2 * 3, False: 0}  # two grains, three steps


@torch.no_grad()
def test_one_grain_alone_has_nothing_to_be_concatenated_with(build):
    """w/o PMI on captions alone swaps in no other layer."""
    posts = [Post(words=("Paris", "in", "spring"), caption="a tower")]
    default, without = build(), build(fusion={"prioritize": False})
    own = {k: v for k, v in default.state_dict().items() if k in without.state_dict()}
    without.load_state_dict({**without.state_dict(), **own})
    one, other = (m.reason(batch_of(m, posts)).steps[-1].output.types for m in (default, without))
    torch.testing.assert_close(one, other)
    for i in LEVELS:
        scramble(without.network.text_level(i).middle.concatenate)
    torch.testing.assert_close(without.reason(batch_of(without, posts)).steps[-1].output.types, other)


# H_m decides


@pytest.mark.parametrize("variant", ["paper", "pointer"])
@pytest.mark.parametrize("fusion", [{}, {"strategy": "moe"}, {"decompose": False}])
@torch.no_grad()
def test_of_a_constant_state_all_types_are_one(build, posts, variant, fusion):
    model = build(heads={"variant": variant}, fusion=fusion)
    batch = batch_of(model, posts, images=image_features(posts, ALL))
    own = [step.output.types for step in model.reason(batch).steps]
    assert all(float(types.std((0, 1)).max()) > 1e-4 for types in own)
    with constant_state(model, torch.randn(model.network.width)):
        constant = [step.output.types for step in model.reason(batch).steps]
    first = constant[0][:1, :1]
    assert all(torch.equal(types, first.expand_as(types)) for types in constant)


@torch.no_grad()
def test_auxiliary_tags_do_not_reach_the_answer(build, posts):
    model = build()
    batch = batch_of(model, posts)
    before, predicted = answers(model, batch), model.predict(posts, explain=True)
    scramble(model.network.tagger)
    assert same(before, answers(model, batch))
    assert model.predict(posts, explain=True) == predicted


@pytest.mark.parametrize(("level", "loss"), [("token", "align_t"), ("sentence", "align_g"), ("span", "align_s")])
def test_a_level_that_is_left_out_trains_no_relevance_of_its_own(build, posts, level, loss):
    def parts(**fusion):
        model = build(fusion=fusion).train()
        return set(model(batch_of(model, posts, gold=True), torch.Generator().manual_seed(0)).parts)

    assert parts() - parts(**{f"{level}_level": False}) == {loss}


# Neighbours and the gate


@torch.no_grad()
def test_neighbours_are_those_beside_a_word_and_no_others():
    torch.manual_seed(0)
    mix = Neighbours(width=4, reach=2)
    states, mask = torch.randn(1, 9, 4), torch.ones(1, 9, dtype=torch.bool)
    whole = mix(states, mask)
    for changed in range(9):
        other = states.clone()
        other[:, changed] += 1
        moved = (mix(other, mask) - whole).abs().amax(-1)[0] > 1e-6
        assert torch.equal(moved, (torch.arange(9) - changed).abs() <= 2)
    padded = torch.cat([states, torch.zeros(1, 3, 4)], dim=1)
    longer = mix(padded, torch.arange(12)[None] < 9)
    torch.testing.assert_close(longer[:, :9], whole)
    assert not longer[:, 9:].any()


def test_a_caption_reads_its_neighbours_where_the_settings_say_so(build):
    for reach in (0, 1):
        model = build(fusion={"visual_neighbours": reach})
        assert any("neighbours" in name for name, _ in model.named_parameters()) == (reach == 1)


def test_doubt_of_a_gate_by_hand_teaches_the_gate_alone():
    gate = RelevanceGate(width=4, rank=4)
    cosines = torch.tensor([[0.5, 0.1, 0.9], [0.2, -0.1, 0.9], [0.9, 0.9, 0.9]], requires_grad=True)
    gate.logits = lambda x, y: cosines * gate.scale
    pairs = gate.pairs(cosines, cosines, torch.tensor([True, True, False]))
    doubt = doubt_loss(pairs.odds, pairs.present)
    slope, offset = gate.slope.item(), gate.offset.item()
    odds = [slope * 0.5 + offset, slope * -0.1 + offset, -(slope * 0.1 + offset), -(slope * 0.2 + offset)]
    own, other = (-functional.logsigmoid(torch.tensor(pair)).mean() for pair in (odds[:2], odds[2:]))
    torch.testing.assert_close(doubt, (own + other) / 2)
    doubt.backward()
    assert cosines.grad is None or not cosines.grad.any()
    assert gate.slope.grad
    assert gate.offset.grad
    assert doubt_loss(pairs.odds, torch.tensor([True, False, False])).item() == 0


def test_a_gate_that_cannot_tell_pairs_apart_is_a_half_and_one_that_can_is_sure():
    generator, every = torch.Generator().manual_seed(0), torch.ones(16, dtype=torch.bool)
    for apart in (0.0, 0.4):
        gate = RelevanceGate(width=4, rank=4)
        optimizer = torch.optim.Adam([gate.slope, gate.offset], lr=0.1)
        for _ in range(300):
            cosines = 0.3 + 0.1 * torch.randn(16, 16, generator=generator) + apart * torch.eye(16)
            optimizer.zero_grad()
            gate.logits = lambda x, y, of=cosines, scale=gate.scale: of * scale
            doubt_loss(gate.pairs(cosines, cosines, every).odds, every).backward()
            optimizer.step()
        own, other = (torch.sigmoid(gate.slope * c + gate.offset).item() for c in (0.3 + apart, 0.3))
        assert (0.35 < own < 0.65) if apart == 0 else (own > 0.9 and other < 0.1)


@pytest.mark.parametrize("weights_on", ["attention", "states"])
@pytest.mark.parametrize("decompose", [True, False])
@torch.no_grad()
def test_what_eq_3_hides_the_gate_does_not_know_either(build, posts, decompose, weights_on):
    """With lambda 0 the picture weighs nothing at T-1, and the caption nothing at t = 0."""
    model = build(fusion={"lambda_x": 0.0, "lambda_y": 0.0, "decompose": decompose, "weights_on": weights_on})
    images = image_features(posts, ALL)
    batch = batch_of(model, posts, images=images)
    painted = batch_of(model, posts, images=mirrored(images))
    # as many words as before: a state of weight 0 that is multiplied, as printed, still takes its share of a softmax
    turned = [
        replace(p, caption=p.caption and " ".join(p.caption.split()[::-1]), tags=p.tags and p.tags[::-1]) for p in posts
    ]
    told = batch_of(model, turned, images=images)

    def seen(of, t):
        context = prepared(model, of, t)
        spans = model.network(context, 0, torch.tensor([[0, 1], [1, 1]]).expand(len(posts), -1, -1))
        return context.x_t_m, context.x_g_m, context.relevance, spans.relevance, spans.output.types

    whole = torch.tensor([bool(p.caption and p.tags) for p in posts])  # of the others a part has all the weight
    assert whole.any()

    def moved(one, other, t):
        rows = zip(seen(one, t), seen(other, t), strict=True)
        return max(float((a - b).abs().movedim(-3 if a.ndim == 4 else 0, 0)[whole].max()) for a, b in rows)

    last = model.noise.timesteps - 1
    assert moved(batch, painted, last) < 1e-5 < 1e-3 < moved(batch, painted, 0)
    assert moved(batch, told, 0) < 1e-5 < 1e-3 < moved(batch, told, last)
