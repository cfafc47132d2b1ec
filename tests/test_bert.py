"""Loaded checkpoints need no transformers: the same numbers, from weights of the same names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conftest import POSTS, batch_of
from torch import nn
from transformers import AutoModel, BertConfig, BertModel, RobertaConfig, RobertaModel

from dpe_mner import DPEMNERModel, InputError, load
from dpe_mner.representations.bert import BertEncoder, BertSizes
from dpe_mner.representations.encoders import encoder_config, new_encoder, quick_encoder, transformers_encoder

SIZES = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
MASK = torch.arange(9) < torch.tensor([9, 5, 1])[:, None]


def pair(kind: str = "bert", **values):
    """transformers' encoder and ours, with the same weights, neither fresh nor zero."""
    torch.manual_seed(0)
    if kind == "roberta":
        theirs = RobertaModel(RobertaConfig(pad_token_id=1, **SIZES, **values), add_pooling_layer=False)
    else:
        theirs = BertModel(BertConfig(**SIZES, **values), add_pooling_layer=False)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    ours = quick_encoder(theirs.config.to_dict())
    assert ours is not None
    ours.load_state_dict(theirs.state_dict())
    return theirs.eval(), ours.eval()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_states_and_gradients_are_those_of_transformers(kind):
    theirs, ours = pair(kind)
    inputs = torch.randn(3, 9, SIZES["hidden_size"])
    with torch.no_grad():
        expected = theirs(inputs_embeds=inputs, attention_mask=MASK.long()).last_hidden_state
        found = ours(inputs_embeds=inputs, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(found[MASK], expected[MASK], rtol=1e-5, atol=1e-5)
    for encoder in (theirs, ours):
        encoder(inputs_embeds=inputs, attention_mask=MASK.long()).last_hidden_state[MASK].square().sum().backward()
    name = "encoder.layer.0.attention.self.key.weight"
    theirs_grad, ours_grad = (encoder.get_parameter(name).grad for encoder in (theirs, ours))
    assert theirs_grad.abs().max() > 1e-3
    torch.testing.assert_close(ours_grad, theirs_grad, rtol=1e-3, atol=1e-4)


def test_padding_is_not_seen_and_ids_serve_as_well_as_embeddings():
    _, ours = pair()
    ids = torch.randint(5, 60, (3, 9))
    with torch.no_grad():
        padded = ours(input_ids=ids, attention_mask=MASK).last_hidden_state
        alone = ours(input_ids=ids[1:2, :5]).last_hidden_state
        embedded = ours(inputs_embeds=ours.get_input_embeddings()(ids), attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(padded[1, :5], alone[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(padded, embedded)


def test_weights_have_the_names_of_transformers():
    theirs, ours = pair()
    weights = ours.state_dict()
    assert set(weights) == set(theirs.state_dict())
    assert all(torch.equal(weights[name], weight) for name, weight in theirs.state_dict().items())
    again = transformers_encoder(ours, theirs.config)
    assert all(torch.equal(weight, theirs.state_dict()[name]) for name, weight in again.state_dict().items())


def test_dropout_is_where_bert_has_it():
    theirs, ours = pair(hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.35)
    rates = {name: part.p for name, part in ours.named_modules() if isinstance(part, nn.Dropout)}
    assert rates == {name: part.p for name, part in theirs.named_modules() if isinstance(part, nn.Dropout)}
    assert set(rates.values()) == {0.25, 0.35}


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "electra"},
        {"hidden_act": "gelu_new"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"add_cross_attention": True},
        {"layer_norm_eps": None},
    ],
)
def test_what_is_not_plain_bert_is_left_to_transformers(change):
    values = BertConfig(**SIZES).to_dict()
    assert isinstance(quick_encoder(values), BertEncoder)
    assert BertSizes.of(values | change) is None


@pytest.fixture(params=["bert-uncased", "roberta", "electra"])
def checkpoint(request, build, tmp_path):
    model = build(request.param)
    model.save_pretrained(tmp_path / request.param)
    return request.param, model, tmp_path / request.param


def test_a_loaded_checkpoint_answers_as_the_model_that_was_saved(checkpoint):
    kind, model, folder = checkpoint
    loaded = load(str(folder))
    assert isinstance(loaded.text_encoder.encoder, BertEncoder) == (kind != "electra")
    assert loaded.predict(POSTS) == model.predict(POSTS)
    assert model.predict(POSTS) != [[] for _ in POSTS]
    loaded.use_transformers()
    assert type(loaded.text_encoder.encoder) is type(model.text_encoder.encoder)
    assert loaded.predict(POSTS) == model.predict(POSTS)


def test_a_loaded_checkpoint_can_be_trained_on(checkpoint, posts):
    _, model, folder = checkpoint
    loaded = DPEMNERModel.from_pretrained(folder)
    batch = batch_of(model, posts, gold=True)

    def loss(trained):
        return trained(batch, torch.Generator().manual_seed(0)).loss

    torch.testing.assert_close(loss(loaded), loss(model))  # both in evaluation mode
    loaded.train()
    assert loss(loaded) != loss(loaded)  # dropout
    loss(loaded).backward()
    assert all(weight.grad is not None for weight in loaded.network.heads.parameters())
    loaded.gradient_checkpointing_enable()
    loss(loaded).backward()
    assert any(weight.grad is not None for weight in loaded.text_encoder.encoder.parameters())


WATCH = """
import sys
import dpe_mner
model = dpe_mner.load(sys.argv[1])
print(len(model.predict("Kevin Durant enters Oracle Arena")))
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"transformers", "scipy", "sympy", "huggingface_hub"}))
"""


def test_the_first_answer_needs_no_slow_import(checkpoint):
    """Seconds each, which a user would wait for before the first answer (dpe-mner bench --only cold_start)."""
    kind, model, folder = checkpoint
    command = [sys.executable, "-W", "ignore", "-c", WATCH, str(folder)]
    found, *seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(found) == len(model.predict("Kevin Durant enters Oracle Arena"))
    assert seen == [] if kind != "electra" else "transformers" in seen


def test_a_configuration_without_its_family_is_refused():
    with pytest.raises(InputError, match="model_type"):
        encoder_config({"hidden_size": 8})


def test_encoders_are_built_without_a_pooler():
    assert not [name for name in new_encoder(BertConfig(**SIZES)).state_dict() if name.startswith("pooler")]
    assert any(name.startswith("pooler") for name in AutoModel.from_config(BertConfig(**SIZES)).state_dict())
