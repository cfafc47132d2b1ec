"""Explanations show only what moves the answer: influence of a grain, relevance, grounding and its rollout."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import LABELS

from dpe_mner import InputError, Post
from dpe_mner.data.words import words_of
from dpe_mner.explain.collect import Explanation, ground
from dpe_mner.explain.influence import span_influence
from dpe_mner.explain.sources import LEAST_INFLUENCE
from dpe_mner.fusion.attention import TransformerLayer
from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.direct import DirectTransformer
from dpe_mner.fusion.rollout import attention_weights, visual_rollout
from dpe_mner.model import DPEMNERModel
from dpe_mner.pages.reasoning import explanation_page
from dpe_mner.pictures.kinds import Detection, Objects, PictureParts, Regions
from dpe_mner.reasoning.grounding import LEAST_LIFT, FineAttention, Source, best_source, fine_attention
from dpe_mner.representations.collate import collate
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.settings import Settings

SETTINGS = {
    "noise": {"spans": 12, "signal_scale": 2.0},
    "fusion": {
        "heads": 4,
        "mlp_ratio": 1.0,
        "coarse_image_size": 10,
        "fine_image_size": 6,
        "exchange": "direct",
        "weights_on": "attention",
    },
    "heads": {"variant": "pointer", "self_conditioning": True},
    "reasoning": {"steps": 2, "start": "quasi", "eta": 0.0},
}
POST = Post(text="Kevin Durant enters Oracle Arena", caption="a player walks in", tags=("ball", "cup"))
NEEDLE = "did not change this answer"
FOREIGN = [
    replace(POST, caption="a man in a red shirt riding a bicycle down a street"),
    replace(POST, caption="two glasses of wine and a plate of cheese on a wooden table"),
]


@pytest.fixture
def make(encoders):
    """A tiny model whose fresh type head is large enough for an answer to move."""

    def build(**sections) -> DPEMNERModel:
        settings = {name: {**values, **sections.pop(name, {})} for name, values in SETTINGS.items()} | sections
        encoder = encoders("bert-uncased")  # before the seed: building it draws numbers
        torch.manual_seed(1)
        model = DPEMNERModel.from_encoder(encoder, labels=LABELS, settings=Settings.model_validate(settings))
        with torch.no_grad():
            model.network.heads.types.weight.mul_(100)
        return model.eval()

    return build


def close_gate(model: DPEMNERModel, grain: str) -> None:
    """Relevance 0 for good: with the weights on attention, nothing of the grain reaches the text."""
    with torch.no_grad():
        for fusion in model.network.fusion.values():
            fusion.relevance[grain].offset.fill_(-1e4)


def bypass(model: DPEMNERModel) -> None:
    """An answer that reads neither H_m nor fused words, behind gates that stand open."""
    heads = model.network.heads
    with torch.no_grad():
        for part in (heads.type_features, heads.boundary_features, heads.left.word, heads.right.word):
            part.weight.zero_()


def test_what_moves_the_answer_has_a_relevance(make):
    told = make().predict(POST, explain=True)
    assert set(told.influence) == {"coarse", "fine"}
    assert min(told.influence.values()) > LEAST_INFLUENCE
    assert set(told.relevance) == {"token", "sentence", "span"}
    assert all(set(grains) == {"coarse", "fine"} for grains in told.relevance.values())
    assert all(set(step.span_relevance) == {"coarse", "fine"} for step in told.steps)
    assert json.loads(json.dumps(told.as_dict(explain=True)))["influence"] == told.influence
    assert NEEDLE not in explanation_page([POST], [told], title="t")


def test_an_answer_that_goes_past_the_fusion_shows_nothing_of_it(make):
    model = make()
    bypass(model)
    told = model.predict(POST, explain=True)
    assert told.influence == {"coarse": 0.0, "fine": 0.0}
    assert told.relevance == {"token": {}, "sentence": {}, "span": {}}
    assert [step.span_relevance for step in told.steps] == [{}, {}]
    assert told.grounding == []
    html = explanation_page([POST], [told], title="t")
    assert f"Caption and tags {NEEDLE}." in html
    assert "relevance to the spans" not in html
    assert "<table>" not in html
    assert 'class="meters"' not in html
    assert "nothing beside the text" not in html


def test_one_grain_may_move_the_answer_and_the_other_not(make):
    model = make()
    close_gate(model, "f")
    told = model.predict(POST, explain=True)
    assert told.influence["fine"] == 0
    assert told.influence["coarse"] > LEAST_INFLUENCE
    assert all(set(grains) == {"coarse"} for grains in told.relevance.values())
    assert all(set(step.span_relevance) == {"coarse"} for step in told.steps)
    assert told.grounding == []
    html = explanation_page([POST], [told], title="t")
    assert f"Tags {NEEDLE}." in html
    assert "caption 100&nbsp;%" in html
    assert "relevance to the spans: coarse" in html
    assert " fine 0." not in html.partition("relevance to the spans:")[2].partition("<")[0]


@pytest.mark.parametrize(("factor", "shown"), [(1.05, True), (0.95, False)])
def test_the_threshold_is_on_the_largest_change_of_a_logit(make, factor, shown):
    """The same network with its type logits made smaller until no exchange moves one by as much."""
    whole, smaller = make(), make()
    for model in (whole, smaller):
        bypass(model)
    with torch.no_grad():
        for model in (whole, smaller):
            torch.manual_seed(2)
            torch.nn.init.normal_(model.network.heads.type_features.weight)
        before = whole.predict(POST, explain=True, steps=1).influence["coarse"]
        smaller.network.heads.types.weight.mul_(factor * LEAST_INFLUENCE / before)
    told = smaller.predict(POST, explain=True, steps=1)
    assert told.influence["coarse"] == pytest.approx(factor * LEAST_INFLUENCE, abs=0.001)
    assert ("coarse" in told.relevance["span"]) == shown


def test_nothing_to_exchange_is_not_reasoned_over_again(make, monkeypatch):
    model = make()
    calls = []
    reason = model.reason
    monkeypatch.setattr(model, "reason", lambda *a, **k: calls.append(1) or reason(*a, **k))
    told = model.predict("Kevin Durant", explain=True)
    assert (told.influence, len(calls)) == ({}, 1)
    assert told.relevance == {"token": {}, "sentence": {}, "span": {}}
    assert "nothing beside the text" in explanation_page([POST], [told], title="t")
    assert model.predict(POST) == model.predict(POST, explain=True).entities
    assert len(calls) == 1 + 1 + 5  # two exchanges of each grain


def test_a_post_without_words_or_no_post_has_no_influence(make):
    model = make()
    assert model.predict(Post(text="", caption="a player"), explain=True).influence == {}
    assert model.predict([], explain=True) == []
    assert model.predict([]) == []
    with pytest.raises(InputError, match="belong to one post"):
        model.predict([], caption="a player")


def window_of(model, post):
    (window,) = model.tokenizer.windows(post, words_of(post))
    return window


def exchanged(model, post, image=None):
    """What is reasoned over, beside the post itself, to measure the influence on it."""
    windows, seen, image = [window_of(model, post)], [], image or PostFeatures()

    def reason(changed, images):
        seen.append((changed, images))
        return model.reason(collate(changed, pad_id=model.tokenizer.pad_id, images=images, multiple=8))

    own = reason(windows, [image])
    moved = span_influence(windows, [image], own, tokenizer=model.tokenizer, settings=model.settings, reason=reason)
    assert all(spans.shape == (1, 12) for spans in moved.values())
    return seen[1:]


@pytest.mark.parametrize("post", FOREIGN)
def test_a_post_that_has_just_the_foreign_caption_is_moved_by_the_other_one(make, post):
    model = make()
    captions = [window.caption for (window,), _ in exchanged(model, post)[:2]]
    assert [window_of(model, each).caption for each in FOREIGN] == captions
    assert model.predict(post, explain=True).influence["coarse"] > LEAST_INFLUENCE


def test_only_the_exchanged_grain_changes_and_what_is_missing_stays_missing(make):
    model = make()
    torch.manual_seed(0)
    image = PostFeatures(torch.randn(4, 10), torch.randn(3, 6), Objects(7, 100, 50))
    own, foreign = window_of(model, POST), exchanged(model, POST, image)
    assert len(foreign) == 4
    for number, ((window,), (other,)) in enumerate(foreign):
        coarse = number < 2
        assert window.text == own.text
        assert (window.caption == own.caption) == (not coarse)
        assert (window.tags == own.tags) == coarse
        assert torch.equal(other.coarse, image.coarse) == (not coarse)
        assert torch.equal(other.fine, image.fine) == coarse
        assert other.objects == image.objects
        # the same channels in other places
        assert torch.allclose(other.coarse.sort().values, image.coarse.sort().values)
    foreign = exchanged(model, replace(POST, caption=None, tags=None), PostFeatures(fine=image.fine))
    assert len(foreign) == 2
    for (window,), (other,) in foreign:
        assert window.caption is None
        assert window.tags is None
        assert other.coarse is None
        assert not torch.equal(other.fine, image.fine)


def test_a_post_is_explained_the_same_in_any_company(make):
    model = make()
    names = ["Kevin", "#NBA", "Paris", "the", "of", "Tim", "Cook"]
    posts = [
        Post(
            words=[names[(k * 3 + j) % 7] for j in range(2 + k % 5)],
            caption=None if k % 3 == 0 else " ".join(names[: 1 + k % 6]),
            tags=("person", "dog") if k % 2 else None,
        )
        for k in range(12)
    ]
    alone = [model.predict(post, explain=True) for post in posts]
    assert any(told.influence for told in alone)
    for batch_size in (1, 5, 32):
        assert model.predict(posts, explain=True, batch_size=batch_size) == alone
    assert model.predict(posts[::-1], explain=True) == alone[::-1]


def test_of_several_windows_the_one_that_moves_most_tells(make):
    model = make(encoder={"window_words": 8, "window_overlap": 2})
    post = replace(POST, text=" ".join([POST.text] * 6))
    told = model.predict(post, explain=True)
    assert len(model.tokenizer.windows(post, words_of(post))) > 3
    assert set(told.influence) == set(told.relevance["span"]) == {"coarse", "fine"}


def test_every_step_that_the_answer_reads_counts(make):
    last, every = (make(reasoning={"combine": how}).predict(POST, explain=True) for how in ("last", "mean"))
    first = make().predict(POST, explain=True, steps=1)
    for grain in ("coarse", "fine"):
        assert first.influence[grain] != last.influence[grain]
        assert every.influence[grain] == pytest.approx(max(first.influence[grain], last.influence[grain]), abs=0.001)


@pytest.mark.parametrize(
    ("fusion", "without"),
    [
        ({"strategy": "moe"}, {"token", "sentence", "span"}),
        ({"span_level": False}, {"span"}),
        ({"token_level": False}, {"token"}),
        ({"sentence_level": False}, {"sentence"}),
    ],
)
def test_where_there_is_no_gate_there_is_no_relevance(make, fusion, without):
    told = make(fusion=fusion).predict(POST, explain=True)
    assert {i for i, grains in told.relevance.items() if not grains} == without
    assert max(told.influence.values()) > LEAST_INFLUENCE
    page = explanation_page([POST], [told], title="t")
    assert ("relevance to the spans" in page) == ("span" not in without)


# Grounding: what was looked at more than at the rest.


def told_of(share: list[float], window, *, regions: int, influence: float = 1.0, by_word: bool = False) -> Explanation:
    count = len(share)
    attention = FineAttention(
        shares=torch.tensor([[share]]),
        even=torch.full((1, count), 1 / count),
        regions=regions,
        by_word=by_word,
        left=torch.tensor([[0]]),
        right=torch.tensor([[1]]),
        confidence=torch.tensor([[0.9]]),
    )
    return Explanation(
        steps=[],
        times=[],
        weights=[],
        starts=[],
        span_relevance=None,
        relevance={},
        present={},
        influence={},
        last_relevance=[[0.2, 0.8]],
        fine_influence=[influence],
        attention=attention,
        row=0,
    )


def test_looked_most_at_is_attention_over_even_attention(make):
    model = make()
    tags = ("ball", "a")  # in pieces: [CLS] b a l l a [SEP]
    post = Post(text="Kevin Durant", tags=tags)
    window = window_of(model, post)
    entity = replace(model.predict(post)[0], word_start=0, word_end=2)
    pieces = len(window.tags.ids)
    assert pieces == 7

    def looked(share, **options):
        told = told_of(share, window, regions=0, **options)
        return ground([entity], [(window, told)], PictureParts(tags=[Detection("a", 0.9, (0, 0, 1, 1))]), tags)

    even = [1 / 7] * 7
    assert looked(even) == []  # the tag of four pieces has the greatest share, and means nothing
    narrow = [0.1, 0.15, 0.15, 0.15, 0.15, 0.29, 0.01]
    (found,) = looked(narrow)
    assert (found.source, found.name, found.box) == ("tag", "a", (0, 0, 1, 1))  # less in sum than the ball
    assert (found.weight, found.lift, found.relevance) == pytest.approx((0.29, 2.03, 0.8), abs=0.001)
    assert looked(narrow, influence=LEAST_INFLUENCE / 2) == []
    assert looked([0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6]) == []  # looked at nothing that has a name
    (found,) = looked([0.1, 0.9], by_word=True)
    assert (found.name, found.weight, found.lift) == ("a", 0.9, 1.8)


def test_regions_count_by_their_blocks(make):
    model = make()
    post = Post(text="Kevin Durant")
    window = window_of(model, post)
    entity = replace(model.predict(post)[0], word_start=0, word_end=2)
    box = (0.1, 0.2, 0.3, 0.4)
    regions = Regions(torch.zeros(2, 2, 6).numpy(), [(0, 0, 1, 1), box], ["cup", "ball"])
    told = told_of([0.1, 0.1, 0.5, 0.3], window, regions=4)
    (found,) = ground([entity], [(window, told)], PictureParts(regions=regions), ())
    assert (found.source, found.name, found.box) == ("region", "ball", box)
    assert (found.weight, found.lift) == pytest.approx((0.8, 1.6))


def test_the_greatest_lift_wins_and_near_even_says_nothing():
    sources = [Source("region", 0, 0.5, LEAST_LIFT - 0.1), Source("tag", 0, 0.1, LEAST_LIFT)]
    assert best_source(sources) is sources[1]
    assert best_source(sources[:1]) is None
    assert best_source([]) is None


def test_sharp_attention_grounds_entities_with_their_own_relevance(make):
    model = make()
    with torch.no_grad():
        for layer in model.network.exchanges["f"].layers:
            layer.attention.query.weight.mul_(60)
    told = model.predict(POST, explain=True, steps=1)
    assert told.grounding
    for grounding in told.grounding:
        assert grounding.source == "tag"
        assert grounding.name in POST.tags
        assert grounding.lift >= LEAST_LIFT
        assert 0 < grounding.weight <= 1
        assert 0 < grounding.relevance < 1
    assert f"looked most at the tag <b>{told.grounding[0].name}</b>" in explanation_page([POST], [told], title="t")


EXCHANGES = [
    {"exchange": "direct"},
    {"exchange": "bottleneck", "bottleneck_order": "parallel"},
    {"exchange": "bottleneck", "bottleneck_order": "text-first"},
]


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("weights_on", ["states", "attention"])
def test_attention_of_a_model_is_shared_out_among_what_is_there(make, exchange, weights_on):
    model = make(fusion={**exchange, "weights_on": weights_on})
    posts = [POST, replace(POST, tags=None), replace(POST, tags=("cup",))]
    torch.manual_seed(0)
    images = [PostFeatures(fine=torch.randn(2, 6)), PostFeatures(), PostFeatures()]
    windows = [window for post in posts for window in model.tokenizer.windows(post, words_of(post))]
    batch = collate(windows, pad_id=model.tokenizer.pad_id, images=images, multiple=8)
    found = fine_attention(model, model.reason(batch))
    mask = torch.cat([batch.fine.mask, batch.tags.mask], dim=1)
    assert found.regions == 2
    assert found.shares.shape == (3, 12, mask.shape[1])
    expected = torch.tensor([1.0, 0.0, 1.0])
    torch.testing.assert_close(found.shares.sum(-1), expected[:, None].expand(-1, 12))
    torch.testing.assert_close(found.even.sum(-1), expected)
    assert not found.shares.masked_select(~mask[:, None]).any()
    assert not found.even.masked_select(~mask).any()
    assert (found.shares.masked_select(mask[:, None]) > 0).all()
    told = found.even[0][mask[0]]
    assert (told.max() - told.min() > 0.01) == (weights_on == "attention")  # eq. 3 weighs regions against tags


# Rollout.


def exchange_of(kind: str, *, layers: int = 2, heads: int = 2, tokens: int = 3, width: int = 16):
    torch.manual_seed(0)
    common = {"width": width, "heads": heads, "layers": layers, "ratio": 1.0, "dropout": 0.0}
    if kind == "direct":
        return DirectTransformer(**common).eval()
    return BottleneckTransformer(**common, tokens=tokens, order=kind).eval()


KINDS = pytest.mark.parametrize("kind", ["direct", "parallel", "text-first"])


@KINDS
@pytest.mark.parametrize("factor", ["scale", "odds"])
@pytest.mark.parametrize("layers", [2, 3])
def test_shares_sum_to_one_over_what_may_be_seen(kind, factor, layers):
    exchange = exchange_of(kind, layers=layers)
    text, visual = torch.randn(3, 5, 16), torch.randn(3, 4, 16)
    text_mask = torch.tensor([[True] * 5, [True] * 5, [True, True, True, False, False]])
    mask = torch.tensor([[True, True, False, True], [False] * 4, [False, False, True, False]])
    factors = {factor: torch.rand(3, 4) + 0.1}
    shares = visual_rollout(exchange, text, text_mask, visual, mask, **factors)
    torch.testing.assert_close(shares.sum(-1), torch.tensor([1.0, 0.0, 1.0])[:, None].expand(-1, 5))
    assert not shares.masked_select(~mask[:, None]).any()
    torch.testing.assert_close(shares[2, :, 2], torch.ones(5))  # the only one there is
    kept = mask[0].nonzero().squeeze(1)
    without = visual_rollout(
        exchange,
        text[:1],
        text_mask[:1],
        visual[:1, kept],
        mask[:1, kept],
        **{factor: factors[factor][:1, kept]},
    )
    torch.testing.assert_close(shares[:1, :, kept], without)  # what is masked is as if it were not there


@KINDS
def test_odds_of_nought_leave_no_share(kind):
    exchange = exchange_of(kind)
    text, visual, seen = torch.randn(1, 5, 16), torch.randn(1, 4, 16), torch.ones(1, 4, dtype=torch.bool)
    words = torch.ones(1, 5, dtype=torch.bool)
    odds = torch.tensor([[0.7, 0.7, 0.0, 0.3]])
    shares = visual_rollout(exchange, text, words, visual, seen, odds=odds)
    assert torch.isfinite(shares).all()
    assert not shares[..., 2].any()
    more = visual_rollout(exchange, text, words, visual, seen, odds=torch.tensor([[0.7, 0.7, 0.0, 3.0]]))
    assert (more[..., 3] > shares[..., 3]).all()
    nothing = visual_rollout(exchange, text, words, visual, seen, odds=torch.zeros(1, 4))
    assert not nothing.any()


@KINDS
@pytest.mark.parametrize("factor", ["scale", "odds"])
def test_shares_follow_what_the_layer_computes(kind, factor):
    """A position that is looked at ever more (a greater state, or greater odds) takes ever more of the share."""
    exchange = exchange_of(kind, heads=1)
    text, visual, seen = torch.randn(1, 3, 16), torch.randn(1, 4, 16), torch.ones(1, 4, dtype=torch.bool)
    words = torch.ones(1, 3, dtype=torch.bool)
    factors = {factor: torch.tensor([[1.0, 0.5, 2.0, 1.0]])}
    shares = visual_rollout(exchange, text, words, visual, seen, **factors)
    assert not torch.allclose(shares, visual_rollout(exchange, text, words, visual, seen), atol=1e-3)


@pytest.mark.parametrize("factor", ["scale", "odds", None])
def test_attention_weights_are_those_the_layer_mixes_with(factor):
    torch.manual_seed(0)
    layer = TransformerLayer(width=8, heads=1, ratio=1.0, dropout=0.0).eval()
    states, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True, True, True, False, True]])
    factors = {} if factor is None else {factor: torch.rand(2, 5) + 0.1}
    weights = attention_weights(layer, states, mask, **factors)
    normed = layer.norm(states)
    if factor == "scale":
        normed = normed * factors["scale"][..., None]
    value = layer.attention.key_value(normed)[..., 8:]
    mixed = layer.feed_forward(states + layer.attention.output(weights @ value))
    torch.testing.assert_close(mixed, layer(states, mask, **factors))


def test_one_direct_layer_is_its_attention():
    exchange = exchange_of("direct", layers=1)
    text, visual = torch.randn(1, 2, 16), torch.randn(1, 3, 16)
    seen = torch.tensor([[True, False, True]])
    words = torch.ones(1, 2, dtype=torch.bool)
    shares = visual_rollout(exchange, text, words, visual, seen)
    both = torch.cat([text, visual], dim=1), torch.cat([words, seen], dim=1)
    drawn = attention_weights(exchange.layers[0], *both)[:, :2, 2:]
    torch.testing.assert_close(shares, drawn / drawn.sum(-1, keepdim=True))


@pytest.mark.parametrize("kind", ["parallel", "text-first"])
def test_through_one_token_it_is_what_the_token_took(kind):
    """One token is the only way: what a text position gets is what the token took, whatever it attends to."""
    mbt = exchange_of(kind, heads=1, tokens=1, width=8)
    text, visual = torch.randn(1, 2, 8), torch.randn(1, 3, 8)
    words, seen = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    shares = visual_rollout(mbt, text, words, visual, seen)
    token = mbt.bottleneck
    if kind == "text-first":
        first = torch.cat([text, token], dim=1)
        token = mbt.text_layers[0](first, torch.ones(1, 3, dtype=torch.bool))[:, 2:]
    states = torch.cat([visual, token], dim=1)
    took = attention_weights(mbt.visual_layers[0], states, torch.ones(1, 4, dtype=torch.bool))[0, -1, :3]
    torch.testing.assert_close(shares[0], (took / took.sum()).expand(2, -1))
