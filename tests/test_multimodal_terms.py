"""The formulas of the multimodal systems, each against a plain computation by hand."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import LABELS, POSTS
from multimodal_parts import BLOCKS, CHANNELS, batch_for, tiny

from dpe_mner.baselines.adacoatt import GuidedAttention
from dpe_mner.baselines.cat_mner import closeness, saliency
from dpe_mner.baselines.debiascl import contrastive_loss
from dpe_mner.baselines.fmit import LatticeLayer, region_means, sinusoids
from dpe_mner.baselines.mner_qg import gold_table, pairs_to_ask
from dpe_mner.baselines.own_words import OwnTexts, queries_of, type_words
from dpe_mner.baselines.prefix import GridTokens
from dpe_mner.baselines.umt import boundary_conversion, boundary_tags
from dpe_mner.baselines.vision import Blocks, pooled_grid
from dpe_mner.data.words import words_of
from dpe_mner.representations.bert import PrefixStates
from dpe_mner.representations.collate import collate
from dpe_mner.types import Post

# --- DebiasCL


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize("temperature", [0.5, 10.0])
def test_the_contrast_by_hand(share, temperature):
    torch.manual_seed(0)
    text, image = torch.randn(3, 4), torch.randn(3, 4)
    both = [*text.tolist(), *image.tolist()]

    def f(a, b):
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature)

    total = 0.0
    for i, anchor in enumerate(both):
        partner = (i + 3) % 6
        negatives = [f(anchor, other) for j, other in enumerate(both) if j not in (i, partner)]
        count, positive = len(negatives), f(anchor, both[partner])
        assert count == 2 * 3 - 2
        g = (sum(negatives) - share * count * positive) / (1 - share)
        if share:
            g = max(g, count * math.exp(-1 / temperature))
        total += -math.log(positive / (positive + g))
    found = contrastive_loss(text, image, temperature=temperature, positive_share=share)
    assert float(found) == pytest.approx(total / 6, rel=1e-5)


def test_the_contrast_does_not_overflow_and_is_nothing_for_one_post():
    text = torch.full((2, 8), 40.0)
    assert torch.isfinite(contrastive_loss(text, text, temperature=0.1, positive_share=0.1))
    assert float(contrastive_loss(text[:1], text[:1], temperature=1.0, positive_share=0.1)) == 0


def test_the_hardest_posts_are_the_densest_or_those_with_most_objects(encoders):
    built = tiny("debiascl", encoders("bert-uncased"))
    batch = batch_for(built, POSTS, seen=[True, True, False, True])
    objects = torch.tensor([[9.0, 0.5], [2.0, 4.0], [7.0, 9.0], [-1.0, -1.0]])
    from dataclasses import replace

    batch = replace(batch, objects=objects)
    assert built.model.hardest(batch).tolist() == [1, 0]  # post 2 has no picture, post 3 was not counted
    faithful = tiny("debiascl", encoders("bert-uncased"), version="faithful")
    assert faithful.model.hardest(batch).tolist() == [0, 1]
    assert len(built.model.hardest(replace(batch, objects=None))) == 0


def test_a_hard_batch_is_contrasted_twice_and_none_of_it_when_switched_off(encoders):
    built = tiny("debiascl", encoders("bert-uncased"))
    losses = built.model.losses(batch_for(built, POSTS, gold=True))
    assert set(losses) == {"entities", "contrast", "hard_contrast"}
    off = tiny("debiascl", encoders("bert-uncased"), debiascl={"layers": 1, "contrast": "none"})
    assert set(off.model.losses(batch_for(off, POSTS, gold=True))) == {"entities"}


# --- UMT


def test_boundary_scores_are_shared_among_the_types():
    conversion = boundary_conversion(4)
    assert conversion.shape == (3, 7)
    assert (torch.tensor([[1.0, 2.0, 3.0]]) @ conversion).tolist() == [
        pytest.approx([1.0, 2 / 3, 1.0, 2 / 3, 1.0, 2 / 3, 1.0])
    ]
    assert boundary_tags(torch.tensor([0, 1, 2, 7, 8, -100])).tolist() == [0, 1, 2, 1, 2, -100]


def test_the_final_scores_are_half_the_networks_and_half_the_boundaries(encoders):
    built = tiny("umt", encoders("bert-uncased"))
    model = built.model.eval()
    batch = batch_for(built, POSTS[:1], gold=True)
    with torch.no_grad():
        model.crf.output.weight.zero_()
        model.crf.output.bias.zero_()
        scores, boundaries = model.emissions(batch)
    assert torch.allclose(scores, 0.5 * boundaries @ boundary_conversion(len(LABELS) + 1), atol=1e-6)


# --- AdaCoAtt


def test_the_published_attention_is_blind_to_its_guide_and_the_repaired_is_not():
    torch.manual_seed(1)
    items, guides, mask = torch.randn(2, 5, 6), torch.randn(2, 3, 6), torch.ones(2, 5, dtype=torch.bool)
    blind = GuidedAttention(6, faithful=True).weights(items, guides, mask)
    assert torch.allclose(blind[:, 0], blind[:, 2], atol=1e-6)
    seeing = GuidedAttention(6, faithful=False).weights(items, guides, mask)
    assert (seeing[:, 0] - seeing[:, 2]).abs().max() > 1e-3
    assert torch.allclose(seeing.sum(-1), torch.ones(2, 3))


# --- CAT-MNER


def test_saliency_by_hand():
    blocks = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]]])
    words = torch.tensor([[3.0, 0.0], [-1.0, 0.0]])
    close = closeness(blocks, words)
    assert close.tolist() == [pytest.approx([1.0, 0.0, 0.5**0.5])]
    seen = Blocks(blocks, torch.tensor([[True, True, False]]))
    found = saliency(close, seen, 0.5)
    e = [math.exp(2.0), 1.0]
    assert found.tolist() == [pytest.approx([2 * e[0] / sum(e), 2 * e[1] / sum(e), 1.0])]
    even = saliency(torch.zeros(1, 3), seen, 0.1)
    assert even.tolist() == [pytest.approx([1.0, 1.0, 1.0])]


def test_type_words_decide_what_is_read(encoders):
    encoder = encoders("bert-uncased")
    own = {"words": {label: ["ball"] for label in LABELS}}
    one, other = tiny("cat-mner", encoder), tiny("cat-mner", encoder, cat_mner=own)
    other.model.load_state_dict(
        {k: v for k, v in one.model.state_dict().items() if not k.startswith("type_words.")}, strict=False
    )
    batch = batch_for(one, POSTS[:1])
    with torch.no_grad():
        assert not torch.allclose(one.model.eval().words(batch), other.model.eval().words(batch), atol=1e-5)


def test_blocks_of_an_aligned_picture_are_read_too(encoders):
    built = tiny("cat-mner", encoders("bert-uncased"), aligned=True)
    model = built.model.eval()
    with torch.no_grad():
        one = model.words(batch_for(built, POSTS[:1]))
        other = model.words(batch_for(built, POSTS[:1], seen=[False]))
    assert not torch.allclose(one, other, atol=1e-5)


# --- FMIT


def test_the_lattices_attention_by_hand():
    torch.manual_seed(2)
    width, heads, N = 8, 2, 4
    layer = LatticeLayer(width, heads)
    torch.nn.init.normal_(layer.content_bias)
    torch.nn.init.normal_(layer.position_bias)
    x = torch.randn(1, N, width)
    positions = torch.tensor([[[0, 0], [1, 1], [2, 2], [0, 2]]])
    found = layer.scores(x, positions)
    table = sinusoids(3, width, device=x.device)  # differences from -3 to 3
    d = width // heads
    for i in range(N):
        for j in range(N):
            (hi, ti), (hj, tj) = positions[0, i].tolist(), positions[0, j].tolist()
            four = torch.cat([table[k + 3] for k in (hi - hj, hi - tj, ti - hj, ti - tj)])
            r = layer.relative(torch.relu(layer.distances(four)))
            q, k = layer.query(x[0, i]), layer.key(x[0, j])
            for h in range(heads):
                part = slice(h * d, (h + 1) * d)
                wanted = (q[part] + layer.content_bias[h]) @ k[part] + (q[part] + layer.position_bias[h]) @ r[part]
                assert float(found[0, h, i, j]) == pytest.approx(float(wanted), abs=1e-4)


def test_a_cue_stands_where_its_phrase_does_and_a_general_one_spans_the_post(encoders):
    built = tiny("fmit", encoders("bert-uncased"))
    batch = batch_for(built, POSTS[:1])
    with torch.no_grad():
        cues, where = built.model.cues(batch, Blocks(torch.zeros(1, 0, 32), torch.zeros(1, 0, dtype=torch.bool)))
    assert where.tolist() == [[[0, 0], [0, 4]]]  # five words
    assert cues.mask.tolist() == [[True, True]]
    fine = Blocks(batch.fine.features, batch.fine.mask)
    mean, there = region_means(fine, BLOCKS)
    assert torch.allclose(mean[0, 1], batch.fine.features[0, BLOCKS:].mean(0), atol=1e-6)
    assert there.all()


# --- MNER-QG


def test_types_are_asked_for_so_that_the_sum_is_that_of_all_in_the_mean(encoders):
    built = tiny("mner-qg", encoders("bert-uncased"))
    gold = batch_for(built, POSTS, gold=True).gold
    own = [{1, 2}, {3, 2, 1}, set(), {4}]
    total, times = torch.zeros(4, 4), 3000
    for seed in range(times):
        post, kind, weight = pairs_to_ask(gold, 4, torch.Generator().manual_seed(seed))
        asked = list(zip(post.tolist(), (kind + 1).tolist(), weight.tolist(), strict=True))
        for p, types in enumerate(own):
            mine = {k: w for q, k, w in asked if q == p}
            assert len(mine.keys() & types) == min(len(types), 1)
            assert len(mine.keys() - types) <= 1
            assert all(w == (len(types) if k in types else 2 * (4 - len(types))) for k, w in mine.items())
        total[post, kind] += weight
    assert (total / times - 1).abs().max() < 0.2  # each pair counts once, as if all had been asked


def test_gold_spans_by_first_word_and_length(encoders):
    built = tiny("mner-qg", encoders("bert-uncased"))
    gold = batch_for(built, POSTS, gold=True).gold
    table, start, end = gold_table(gold, torch.tensor([0, 0, 2]), torch.tensor([0, 1, 0]), 5, 1)
    assert not table.any()  # both are two words long
    assert start.nonzero().tolist() == [[0, 0], [1, 3]]
    assert end.nonzero().tolist() == [[0, 1], [1, 4]]
    table, _, _ = gold_table(gold, torch.tensor([0, 0, 2]), torch.tensor([0, 1, 0]), 5, 3)
    assert table.nonzero().tolist() == [[0, 0, 1], [1, 3, 1]]


@torch.no_grad()
def test_a_post_as_long_as_fits_behind_a_query_is_read_whole_whatever_it_is_padded_to(encoders):
    built = tiny("mner-qg", encoders("bert-uncased"))
    words = tuple("abcdefgh" for _ in range(30))
    post = Post(id="long", words=words)
    windows = built.tokenizer.windows(post, words_of(post))
    longest = max(len(window.text.ids) for window in windows)
    assert longest > built.tokenizer.max_pieces - 8  # as many words as there is room for
    one, other = (collate(windows, pad_id=0, multiple=multiple) for multiple in (1, 32))
    assert other.text.ids.shape[1] > one.text.ids.shape[1]
    seen = [built.model.eval().read(b, torch.tensor([0]), torch.tensor([1])) for b in (one, other)]
    M = one.words
    assert torch.allclose(seen[0].start, seen[1].start[:, :M], atol=1e-5)


def test_queries_and_words_of_unknown_labels_are_their_names():
    assert type_words(["VESSEL_TYPE"], {}) == ["vessel type"]
    assert type_words(["PER"], {"PER": ["boxer"]}) == ["boxer"]
    assert queries_of(["VESSEL_TYPE"], {}) == ["VESSEL TYPE: names of this kind."]
    assert queries_of(["OTHER"], {}) == queries_of(["MISC"], {})


def test_own_texts_are_padded_with_a_mask(encoders):
    from dpe_mner.representations.tokenizer import load_tokenizer

    texts = OwnTexts(["ab", "abcd"], load_tokenizer(encoders("bert-uncased")))
    assert texts.mask.sum(1).tolist() == [4, 6]
    assert texts.pieces().word_index.tolist() == [[-1, 0, 0, -1, -1, -1], [-1, 0, 0, 0, 0, -1]]


# --- HVPNeT and VisualPT-MoE


def test_tokens_are_places_or_as_published_groups_of_channels(encoders):
    built = tiny("hvpnet", encoders("bert-uncased"))
    batch = batch_for(built, POSTS[:1])
    grid = batch.coarse.features[0]
    assert torch.equal(GridTokens(CHANNELS, fine_blocks=BLOCKS).whole(batch).states[0], grid)
    groups = GridTokens(CHANNELS, fine_blocks=BLOCKS, by_channel=True).whole(batch).states[0]
    assert torch.equal(groups[1], grid.T.flatten()[CHANNELS : 2 * CHANNELS])
    assert len(GridTokens(CHANNELS, fine_blocks=BLOCKS)(batch)) == 3  # the whole picture and two regions
    seven = Blocks(torch.arange(49.0).view(1, 49, 1), torch.ones(1, 49, dtype=torch.bool))
    assert pooled_grid(seven, 2).states.shape == (1, 4, 1)
    assert pooled_grid(seven, 7) is seven


def test_a_prefix_is_attended_to_as_more_keys_and_values(encoders):
    built = tiny("hvpnet", encoders("bert-uncased"))
    encoder = built.model.text_encoder.encoder
    attention = encoder.encoder["layer"][0].attention["self"].eval()
    torch.manual_seed(0)
    states, mask = torch.randn(1, 3, 32), torch.ones(1, 1, 1, 3, dtype=torch.bool)
    keys, values = torch.randn(2, 1, 4, 2, 8)
    open_ = torch.tensor([[True, False]])
    found = attention(states, mask, PrefixStates(keys, values, open_))
    q, k, v = (
        project(states).view(1, 3, 4, 8).transpose(1, 2)
        for project in (attention.query, attention.key, attention.value)
    )
    k, v = torch.cat([keys[:, :, :1], k], dim=2), torch.cat([values[:, :, :1], v], dim=2)
    weights = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
    assert torch.allclose(found, (weights @ v).transpose(1, 2).reshape(1, 3, 32), atol=1e-5)
    shut = attention(states, mask, PrefixStates(keys, values, torch.zeros(1, 2, dtype=torch.bool)))
    assert torch.allclose(shut, attention(states, mask), atol=1e-6)


def test_experts_without_anything_to_say_have_no_weight_and_weights_sum_to_one(encoders):
    built = tiny("visualpt-moe", encoders("bert-uncased"))
    model = built.model.eval()
    batch = batch_for(built, POSTS, seen=[True, False, True, False])
    with torch.no_grad():
        _, routed = model.read(batch)
    names = list(model.experts)
    assert names == ["coarse", "fine", "caption", "tags", "pseudo"]
    for weights in routed:
        assert torch.allclose(weights.sum(1), torch.ones(4))
        assert (weights[1, :2] == 0).all()  # no picture
        assert (weights[2, 2:4] == 0).all()  # neither caption nor tags
        assert (weights[:, 4] > 0).all()
    faithful = tiny("visualpt-moe", encoders("bert-uncased"), version="faithful")
    with torch.no_grad():
        _, routed = faithful.model.eval().read(batch)
    assert (routed[0] > 0).all()


def test_the_balance_term_is_the_largest_weight_over_layers_and_posts(encoders):
    built = tiny("visualpt-moe", encoders("bert-uncased"))
    model = built.model.eval()
    batch = batch_for(built, POSTS, gold=True)
    with torch.no_grad():
        _, routed = model.read(batch)
        losses = model.losses(batch)
    words = sum(len(post.words) for post in POSTS)
    wanted = 1e-4 * sum(float(weights.max(1).values.sum()) for weights in routed) / words
    assert float(losses["balance"]) == pytest.approx(wanted, rel=1e-4)
