"""The reasoning loop in batches, and layers that compute only what somebody reads."""

from __future__ import annotations

import pytest
import torch
from conftest import POSTS, batch_of
from transformers import AlbertConfig, AlbertModel

from dpe_mner.errors import InputError
from dpe_mner.fusion.attention import TransformerLayer
from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.representations.text import first_layers
from dpe_mner.types import Post


@pytest.mark.parametrize("combine", ["last", "mean", "max"])
def test_company_decides_nothing_whatever_the_steps_hand_on(build, combine):
    model = build(reasoning={"combine": combine, "steps": 4})
    together = model.predict(POSTS, batch_size=8)
    assert any(together)
    assert together == [model.predict([post])[0] for post in POSTS]
    assert together == model.predict(POSTS[::-1], batch_size=8)[::-1]


def test_wanted_positions_are_those_of_the_whole_layer():
    torch.manual_seed(0)
    layer = TransformerLayer(width=8, heads=2, ratio=2.0, dropout=0.0)
    states, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    scale = torch.rand(2, 5)
    whole = layer(states, mask, scale)
    for wanted in (slice(3), slice(2, None), slice(1, 4)):
        torch.testing.assert_close(layer(states, mask, scale, wanted=wanted), whole[:, wanted])


@pytest.mark.parametrize("order", ["parallel", "text-first"])
@pytest.mark.parametrize("layers", [2, 3, 4])
def test_mbt_leaves_out_only_what_nobody_reads(layers, order):
    """Against the exchange written out, every layer computing every position."""
    torch.manual_seed(0)
    mbt = BottleneckTransformer(width=8, heads=2, layers=layers, tokens=3, ratio=1.0, dropout=0.0, order=order)
    text, visual, ones = torch.randn(2, 4, 8), torch.randn(2, 5, 8), torch.ones(2, 1, dtype=torch.bool)
    scale = torch.rand(2, 5)
    words, seen = ones.expand(2, 4), ones.expand(2, 5)
    x, y, shared = text, visual, mbt.bottleneck.expand(2, -1, -1)
    padded = torch.cat([scale, torch.ones(2, 3)], dim=1)
    for depth, layer in enumerate(mbt.text_layers):
        x, from_text = layer(torch.cat([x, shared], 1), ones.expand(2, 7)).split([4, 3], dim=1)
        if depth + 1 < layers:
            asking = shared if order == "parallel" else from_text
            update = mbt.visual_layers[depth](torch.cat([y, asking], 1), ones.expand(2, 8), padded)
            y, from_visual = update.split([5, 3], dim=1)
            shared = (from_text + from_visual) / 2 if order == "parallel" else from_visual
    torch.testing.assert_close(mbt(text, words, visual, seen, scale=scale), x)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_first_layers_stop_where_they_should_and_share_weights(build, kind):
    model = build(kind)
    encoder = model.text_encoder.encoder
    batch, names = batch_of(model, POSTS[:2]), set(model.state_dict())
    total = encoder.config.num_hidden_layers
    with torch.no_grad():
        mask = batch.text.mask.long()
        reference = encoder(input_ids=batch.text.ids, attention_mask=mask, output_hidden_states=True).hidden_states
        for count in range(1, total + 1):
            cut = first_layers(encoder, count)
            states = cut(input_ids=batch.text.ids, attention_mask=mask).last_hidden_state
            torch.testing.assert_close(states, reference[count])
            assert {id(p) for p in cut.parameters()} <= {id(p) for p in encoder.parameters()}
        assert first_layers(encoder, None) is encoder
        again = encoder(input_ids=batch.text.ids, attention_mask=mask).last_hidden_state
    assert torch.equal(again, reference[-1])
    assert set(model.state_dict()) == names


def test_caption_layers_touch_captions_and_tags_only(build):
    whole, cut = build(), build(encoder={"caption_layers": 1})
    batch = batch_of(whole, POSTS[:1])
    with torch.no_grad():
        (text, visual), (text_cut, visual_cut) = whole.encode(batch), cut.encode(batch)
    assert torch.equal(text.x_t, text_cut.x_t)
    for j in ("c", "f"):
        assert (visual[j].image2text.states - visual_cut[j].image2text.states).abs().max() > 1e-3
    bare = Post(id="x", words=("Paris", "in", "spring"))
    assert whole.predict([bare]) == cut.predict([bare])


def test_an_encoder_that_repeats_one_layer_cannot_be_cut():
    albert = AlbertModel(
        AlbertConfig(vocab_size=20, embedding_size=8, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    )
    with pytest.raises(InputError, match=r"caption_layers: a albert has no list of 12 layers"):
        first_layers(albert, 3)
