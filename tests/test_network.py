"""The network: missing modalities, relevance, switches, other posts of the batch."""

from __future__ import annotations

import shutil

import pytest
import torch
from conftest import POSTS, batch_of
from helpers import image_features
from transformers import AutoModel

import dpe_mner
from dpe_mner.errors import InputError
from dpe_mner.fusion.attention import Attention
from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.relevance import RelevanceGate
from dpe_mner.representations.text import pool_pieces
from dpe_mner.types import Post


@pytest.mark.parametrize("kind", ["bert", "bert-uncased", "roberta", "electra"])
@pytest.mark.parametrize("word_features", [False, True])
def test_any_bert_like_encoder_trains_and_predicts(build, posts, kind, word_features):
    model = build(kind, encoder={"word_shapes": word_features})
    output = model.train()(batch_of(model, posts, gold=True), torch.Generator().manual_seed(0))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    entities = model.predict([posts[0], posts[2]])
    assert [type(e) for e in entities] == [list, list]


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_word_states_are_the_encoders_own_pooled(build, encoders, kind):
    """Our way through inputs_embeds gives what transformers gives for the same pieces."""
    model = build(kind)
    batch = batch_of(model, POSTS[:1])
    reference = AutoModel.from_pretrained(encoders(kind)).eval()
    with torch.no_grad():
        states = reference(input_ids=batch.text.ids, attention_mask=batch.text.mask.long()).last_hidden_state
        ours = model.text_encoder(batch)
    expected = torch.stack([states[0, batch.text.word_index[0] == w].mean(0) for w in range(batch.words)])
    torch.testing.assert_close(ours.x_t[0], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.x_g[0, 0], states[0, 0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_captions_by_word_are_states_as_the_post_has_them(build):
    """A name of several pieces is one state in x_t and in y_ct, so that it can be found again."""
    said = "Kevin Durant at Oracle Arena"
    posts = [Post(text=said, caption=said), Post(text="good morning", caption="Oracle"), Post(text="nothing seen")]
    model = build(encoder={"caption_words": True})
    batch = batch_of(model, posts)
    (embedded,) = model.text_encoder.embed(batch.caption)
    states, mask = model.text_encoder.visual_text(batch.caption, embedded)
    assert batch.caption.mask[0].sum() > 7  # pieces
    assert states.shape[:2] == mask.shape == batch.caption.mask.shape
    assert mask.sum(1).tolist() == [5, 1, 0]
    assert mask[0, :5].all()
    torch.testing.assert_close(states[0, :5], model.text_encoder(batch).x_t[0, :5])
    assert not states[~mask].any()


def test_training_computes_no_captions_of_posts_without_one_and_learns_the_same(build, monkeypatch):
    said = "Kevin Durant at Oracle Arena"
    posts = [Post(text="nothing seen"), Post(text=said, caption=said), Post(text="nor here")]
    model = build(encoder={"caption_words": True})
    text = model.text_encoder
    batch = batch_of(model, posts)
    rows, states = [], text.states
    monkeypatch.setattr(
        text, "states", lambda pieces, *args, **kw: rows.append(len(pieces.ids)) or states(pieces, *args, **kw)
    )

    def read(training):
        model.zero_grad()
        text.training = training  # dropout layers stay off
        found, _ = text.visual_text(batch.caption, text.embed(batch.caption)[0])
        found.square().sum().backward()
        return found.detach(), {name: p.grad.clone() for name, p in text.named_parameters() if p.grad is not None}

    (before, gradients), (now, same) = read(False), read(True)
    assert rows == [3, 1]
    torch.testing.assert_close(now, before)
    assert gradients.keys() == same.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, msg=name)


def test_attention_trained_in_bfloat16_is_that_of_float32():
    torch.manual_seed(0)
    attention = Attention(width=32, heads=4, dropout=0.0)
    queries, context = torch.randn(3, 5, 32), torch.randn(3, 7, 32)
    mask = torch.arange(7) < torch.tensor([7, 3, 1])[:, None]
    bias = torch.randn(3, 4, 5, 7)
    expected = attention(queries, context, mask, bias)
    with torch.autocast("cpu", torch.bfloat16):
        trained = attention(queries, context, mask, bias)
        with torch.no_grad():
            predicted = attention(queries, context, mask, bias)
    assert trained.dtype == predicted.dtype == torch.bfloat16
    torch.testing.assert_close(trained.float(), expected, atol=0.02, rtol=0.02)
    torch.testing.assert_close(predicted.float(), expected, atol=0.02, rtol=0.02)


def test_a_word_without_pieces_pools_to_zero_not_nan():
    states = torch.randn(1, 3, 4)
    pooled = pool_pieces(states, torch.tensor([[-1, 0, 2]]), 3)
    assert torch.equal(pooled[0, 1], torch.zeros(4))
    assert torch.equal(pooled[0, 2], states[0, 2])


def test_relevance_is_not_additive():
    """u_a + v_b would rank the pictures alike for every text."""
    torch.manual_seed(0)
    gate = RelevanceGate(width=8, rank=4)
    logits = gate.logits(torch.randn(5, 8), torch.randn(6, 16))
    interaction = logits - logits.mean(0, keepdim=True) - logits.mean(1, keepdim=True) + logits.mean()
    assert interaction.abs().max() > 1e-3


def test_the_gate_is_the_diagonal_of_the_matrix():
    torch.manual_seed(0)
    gate = RelevanceGate(width=8, rank=4)
    x, y = torch.randn(5, 8), torch.randn(5, 16)
    cosines = gate.logits(x, y).diagonal() / gate.log_scale.exp()
    torch.testing.assert_close(gate(x, y), torch.sigmoid(gate.slope * cosines + gate.offset))
    torch.testing.assert_close(
        gate.pairs(x, y, torch.ones(5, dtype=torch.bool)).printed.diagonal(), gate(x, y) * gate.log_scale.exp()
    )


def test_the_gate_of_spans_is_each_ones_own_and_the_loss_takes_their_mean():
    torch.manual_seed(0)
    gate = RelevanceGate(width=8, rank=4)
    spans, y = torch.randn(3, 5, 8), torch.randn(3, 16)
    each = torch.stack([gate(spans[:, n], y) for n in range(5)], dim=1)
    torch.testing.assert_close(gate(spans, y), each)
    mean = torch.stack([gate.logits(spans[:, n], y) for n in range(5)]).mean(0)
    torch.testing.assert_close(gate.logits(spans, y), mean)


def test_relevance_learns_to_rank_the_right_picture_first():
    torch.manual_seed(0)
    gate = RelevanceGate(width=16, rank=16)
    pairs = torch.randn(64, 16)
    x, y = pairs, torch.cat([pairs.flip(1), torch.randn(64, 16) * 0.1], dim=1)
    optimizer = torch.optim.Adam(gate.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(gate.logits(x, y), torch.arange(64)).backward()
        optimizer.step()
    assert (gate.logits(x, y).argmax(1) == torch.arange(64)).float().mean() > 0.9


def bottleneck():
    torch.manual_seed(0)
    return BottleneckTransformer(width=8, heads=2, layers=2, tokens=2, ratio=1.0, dropout=0.0, order="parallel").eval()


def test_vision_reaches_the_text_through_the_bottleneck_and_its_mask_shuts_it():
    mbt, text, visual, other = bottleneck(), torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    words, seen, shut = (torch.full((1, n), value) for n, value in ((3, True), (4, True), (4, False)))
    ones = torch.ones(1, 4)
    assert (mbt(text, words, other, seen, scale=ones) - mbt(text, words, visual, seen, scale=ones)).abs().max() > 1e-4
    assert torch.equal(mbt(text, words, other, shut, scale=ones), mbt(text, words, visual, shut, scale=ones))


def test_relevance_and_priority_are_not_undone_by_a_norm():
    """At scale 0 vision says nothing: any two pictures give the same text."""
    mbt, text, visual, other = bottleneck(), torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    words, seen = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    outputs = [mbt(text, words, visual, seen, scale=torch.full((1, 4), scale)) for scale in (0.0, 0.3, 1.0)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-4
    assert (outputs[1] - outputs[2]).abs().max() > 1e-4
    torch.testing.assert_close(outputs[0], mbt(text, words, other, seen, scale=torch.zeros(1, 4)))


def test_a_post_without_vision_is_untouched_whoever_its_neighbours_are(build):
    model = build()
    bare = Post(id="x", words=("Paris", "in", "spring"))
    with torch.no_grad():
        for company in ([], [POSTS[0]], [POSTS[1]], [POSTS[3]]):
            batch = batch_of(model, [bare, *company])
            text, visual = model.encode(batch)
            times = torch.full((2, len(batch)), 500)
            context = model.network.prepare(text, visual, times, model.noise.signal_share(times))
            x_t = model.network.text_projection(text.x_t)
            for k in range(2):
                assert torch.equal(context.x_t_m[k, 0], x_t[0])
                assert torch.equal(context.x_g_m[k, 0], model.network.text_projection(text.x_g)[0])
            assert context.relevance[0].abs().max() == 0


@pytest.mark.parametrize("missing", ["none", "images", "captions", "tags", "all"])
def test_every_mixture_of_missing_parts_is_finite(build, posts, missing):
    model = build().train()
    present = [missing not in {"images", "all"}] * 2 + [False] * 2
    if missing in {"captions", "all"}:
        posts = [Post(id=p.id, words=p.words, tags=p.tags, entities=p.entities) for p in posts]
    if missing in {"tags", "all"}:
        posts = [Post(id=p.id, words=p.words, caption=p.caption, entities=p.entities) for p in posts]
    batch = batch_of(model, posts, gold=True, images=image_features(posts, present))
    output = model(batch, torch.Generator().manual_seed(0))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_an_empty_image_mask_equals_no_image(build, posts):
    model = build()
    with_images = batch_of(model, posts, images=image_features(posts, [True, False, False, False]))
    without = batch_of(model, posts)
    traces = [model.reason(batch) for batch in (with_images, without)]
    for one, other in zip(traces[0].steps, traces[1].steps, strict=True):
        torch.testing.assert_close(one.output.types[1:], other.output.types[1:], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(traces[0].steps[0].output.types[0], traces[1].steps[0].output.types[0], atol=1e-4)


SWITCHES = [
    {"fusion": {"prioritize": False}},
    {"fusion": {"decompose": False}},
    {"fusion": {"token_level": False}},
    {"fusion": {"sentence_level": False}},
    {"fusion": {"span_level": False}},
    {"fusion": {"random_features": "coarse"}},
    {"fusion": {"random_features": "fine"}},
    {"fusion": {"reverse_gap": True}},
    {"fusion": {"reverse_grain": True}},
    {"fusion": {"priority": "literal"}},
    {"fusion": {"priority": "literal-flipped"}},
    {"fusion": {"lambda_x": 0.1}},
    {"fusion": {"lambda_y": 0.1}},
    {"fusion": {"strategy": "moe"}},
    {"fusion": {"exchange": "direct"}},
    {"fusion": {"bottleneck_order": "text-first"}},
    {"fusion": {"weights_on": "states"}},
    {"fusion": {"relative_positions": 0}},
    {"fusion": {"hidden_size": 16}},
    {"fusion": {"visual_neighbours": 2}},
    {"encoder": {"caption_words": True}},
    {"fusion": {"aggregator_mlp_ratio": 1.0}},
    {"loss": {"align_token": 0.0}},
    {"loss": {"align_sentence": 0.0}},
    {"loss": {"align_span": 0.0}},
    {"loss": {"lambda_rel": 0.1}},
    {"loss": {"align_on": "gate"}},
    {"loss": {"tagging": 0.0}},
    {"loss": {"unroll": 1}},
    {"loss": {"pure_noise_share": 1.0}},
    {"heads": {"variant": "paper"}},
    {"heads": {"self_conditioning": False}},
    {"noise": {"gold_share": 1.0}},
    {"noise": {"anchor_reach": 1}},
    {"reasoning": {"eta": 1.0}},
]


def name_of(switch):
    return "-".join(f"{key}={value}" for values in switch.values() for key, value in values.items())


def losses(build, posts, default, switched):
    """Losses of two models with the weights that both have, and no dropout: nothing but settings makes them differ."""
    one, other = (build(**{**of, "fusion": {**of.get("fusion", {}), "dropout": 0.0}}) for of in (default, switched))
    own, theirs = one.state_dict(), other.state_dict()
    shared = {k: v for k, v in own.items() if k in theirs and theirs[k].shape == v.shape}
    other.load_state_dict({**theirs, **shared})
    images = image_features(posts, [True, True, False, False])
    found = []
    for model in (one, other):
        for part in model.text_encoder.modules():  # its rates are its own
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        batch = batch_of(model, posts, gold=True, images=images)
        found.append(model.train()(batch, torch.Generator().manual_seed(0)).loss)
    return found


@pytest.mark.parametrize("switch", SWITCHES, ids=name_of)
def test_every_switch_changes_the_model_and_still_trains(build, posts, switch):
    before, after = losses(build, posts, {}, switch)
    after.backward()
    assert torch.isfinite(after)
    assert abs(float(after.detach()) - float(before.detach())) > 1e-6


def test_a_setting_that_nobody_reads_changes_nothing(build, posts):
    """What the test above would say of a switch that does nothing."""
    direct = {"exchange": "direct"}
    before, after = losses(build, posts, {"fusion": direct}, {"fusion": direct | {"bottleneck_order": "text-first"}})
    assert torch.equal(before, after)


def test_token_and_sentence_branches_of_all_steps_equal_one_step_at_a_time(build, posts):
    model = build()
    with torch.no_grad():
        batch = batch_of(model, posts, images=image_features(posts, [True, True, True, False]))
        text, visual = model.encode(batch)
        times = torch.tensor([[999], [400], [20]]).expand(-1, len(batch))
        s = model.noise.signal_share(times)
        together = model.network.prepare(text, visual, times, s)
        for k in range(3):
            alone = model.network.prepare(text, visual, times[k : k + 1], s[k : k + 1])
            torch.testing.assert_close(together.x_t_m[k], alone.x_t_m[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(together.x_g_m[k], alone.x_g_m[0], rtol=1e-4, atol=1e-5)


def test_half_precision_autocast_is_safe(build, posts):
    model = build().train()
    batch = batch_of(model, posts, gold=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(batch, torch.Generator().manual_seed(0)).loss
    loss.backward()
    assert torch.isfinite(loss)


def test_float16_weights_give_the_answers_of_float32(build, posts):
    model = build()
    expected = model.reason(batch_of(model, posts)).steps[-1].output
    halved = {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(halved)
    output = model.reason(batch_of(model, posts)).steps[-1].output
    torch.testing.assert_close(output.types, expected.types, rtol=0.05, atol=0.05)


def test_reasoning_repeats_for_a_seed_and_differs_between_seeds(build, posts):
    model = build(reasoning={"eta": 1.0})
    batch = batch_of(model, posts)

    def run(seed):
        return model.reason(batch, seed=seed).steps[-1].output.types

    torch.manual_seed(5)
    first = run(7)
    torch.manual_seed(6)
    assert torch.equal(first, run(7))
    assert not torch.equal(first, run(8))


def test_every_step_is_in_the_trace(build, posts):
    model = build()
    for steps in (1, 2, 5):
        trace = model.reason(batch_of(model, posts), steps=steps)
        assert len(trace.steps) == len(trace.times) == steps


def test_spans_at_inference_are_free(build, posts):
    model = build(reasoning={"spans_per_word": 3.0})
    batch = batch_of(model, posts)
    assert model.reason(batch).steps[0].output.types.shape[1] == 3 * batch.words
    assert model.reason(batch, spans=5).steps[0].output.types.shape[1] == 5


@pytest.mark.parametrize("training", [True, False])
def test_predicting_knows_no_dropout_and_leaves_the_mode_as_it_was(build, posts, training):
    model = build(fusion={"dropout": 0.9})
    expected = model.eval().predict(posts[0], explain=True)
    again = model.train(training).predict(posts[0], explain=True)
    assert again.steps == expected.steps
    assert {module.training for module in model.modules()} == {training}


def test_attention_over_one_key_is_its_value_whatever_the_query():
    torch.manual_seed(0)
    attention = Attention(width=8, heads=2, dropout=0.0)
    queries, context = torch.randn(2, 5, 8), torch.randn(2, 1, 8)
    alone = attention(queries, context)
    torch.testing.assert_close(alone, attention(queries, context, torch.ones(2, 1, dtype=torch.bool)))
    assert alone.shape == queries.shape
    assert not torch.equal(alone[0], alone[1])
    attention.dropout = 0.5  # drops the one key or doubles it
    assert not torch.allclose(attention(queries, context), alone)


def test_attention_dropout_is_its_own(build):
    def rates(**fusion):
        network = build(fusion={"dropout": 0.2, **fusion}).network
        attention = {part.dropout for part in network.modules() if isinstance(part, Attention)}
        return attention, {part.p for part in network.modules() if isinstance(part, torch.nn.Dropout)}

    assert rates() == ({0.2}, {0.2})
    assert rates(attention_dropout=0.0) == ({0.0}, {0.2})
    assert rates(attention_dropout=0.5, strategy="max-pool") == ({0.5}, {0.2})


def test_gradient_checkpointing_gives_the_same_loss(build, posts):
    model = build().train()
    batch = batch_of(model, posts, gold=True)

    def loss():
        torch.manual_seed(0)  # the same dropout
        return model(batch, torch.Generator().manual_seed(0)).loss

    plain = loss()
    model.gradient_checkpointing_enable()
    assert model.text_encoder.encoder.is_gradient_checkpointing
    checkpointed = loss()
    checkpointed.backward()
    torch.testing.assert_close(checkpointed.detach(), plain.detach(), rtol=1e-4, atol=1e-5)


def test_the_paper_is_the_default(encoders):
    from dpe_mner.settings import Settings

    settings = Settings()
    assert (settings.noise.timesteps, settings.noise.spans) == (1000, 150)
    assert settings.fusion.lambda_x == settings.fusion.lambda_y == 0.3
    assert settings.loss.lambda_rel == 0.5
    assert settings.heads.variant == "paper"
    assert (settings.fusion.exchange, settings.fusion.weights_on) == ("bottleneck", "states")
    assert settings.loss.tagging == 0


def test_training_without_gold_is_a_clear_error(build, posts):
    model = build()
    with pytest.raises(ValueError, match="gold"):
        model(batch_of(model, posts))


def test_the_encoder_of_a_checkpoint_is_one_to_start_from(saved_model, tmp_path):
    from dpe_mner.model import DPEMNERModel

    trained = dpe_mner.load(saved_model)
    begun = DPEMNERModel.from_encoder(saved_model, labels=["PRODUCT"], settings=trained.settings)
    expected, found = (model.text_encoder.encoder.state_dict() for model in (trained, begun))
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, msg=name)
    assert begun.labels == ["PRODUCT"]
    shutil.copytree(saved_model, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        DPEMNERModel.from_encoder(str(tmp_path / "broken"), labels=["PER"])


def test_an_unloadable_encoder_is_a_clear_error(tmp_path):
    from dpe_mner.model import DPEMNERModel

    with pytest.raises(InputError, match="cannot be loaded"):
        DPEMNERModel.from_encoder(str(tmp_path), labels=["PER"])
