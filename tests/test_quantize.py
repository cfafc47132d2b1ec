"""Int8: a smaller, faster encoder that says nearly the same, and refuses what it cannot do."""

from __future__ import annotations

import pytest
import torch
from conftest import POSTS, batch_of
from helpers import lines_of, run

import dpe_mner
from dpe_mner import InputError
from dpe_mner.representations.quantize import quantize_int8


def test_only_the_encoder_changes_and_says_nearly_the_same(build):
    model, small = build(), build()
    quantize_int8(small.text_encoder)
    linear = [part for part in small.text_encoder.encoder.modules() if isinstance(part, torch.nn.Linear)]
    assert linear == []  # all of them are quantised ones now
    assert any(isinstance(part, torch.nn.Linear) for part in small.network.modules())
    with torch.inference_mode():
        exact = model.text_encoder(batch_of(model, POSTS)).x_t
        near = small.text_encoder(batch_of(small, POSTS)).x_t
    error = (exact - near).norm() / exact.norm()
    assert 0 < error < 0.05


def test_what_cannot_be_quantised_is_one_line(build):
    with pytest.raises(InputError, match="float32"):
        quantize_int8(build().to(torch.bfloat16).text_encoder)


def test_load_and_command(saved_model):
    exact, small = dpe_mner.load(saved_model), dpe_mner.load(saved_model, int8=True)
    expected = [entity.as_dict() for entity in small.predict("Kevin Durant")]
    command = ("predict", "--text", "Kevin Durant", "--model", saved_model)
    (row,) = lines_of(run(*command, "--int8").stdout)
    assert row["entities"] == expected
    words = batch_of(exact, POSTS)
    with torch.inference_mode():
        assert not torch.equal(exact.text_encoder(words).x_t, small.text_encoder(words).x_t)
