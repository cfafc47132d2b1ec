"""Patches and words in one space, on tiny random CLIP and SigLIP models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel
from vision import MAKERS, picture

from dpe_mner.pictures.backbone import Backbone
from dpe_mner.pictures.opening import open_picture
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.weights import ProviderError
from dpe_mner.settings import PictureSettings

WIDTH = {"clip": 8, "siglip": 16}
both = pytest.mark.parametrize("kind", WIDTH)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return {kind: MAKERS[kind](tmp_path_factory.mktemp(kind)) for kind in (*WIDTH, "vit")}


@pytest.fixture(scope="session")
def backbones(models):
    return {kind: Backbone(name) for kind, name in models.items()}


@both
def test_blocks_lie_in_the_space_of_words(backbones, kind):
    backbone = backbones[kind]
    first, second = backbone.aligned([picture(0), picture(1)])
    words = backbone.encode_words(["person", "location", "a red ball"])
    assert first.shape == (4, WIDTH[kind])
    assert words.shape == (3, WIDTH[kind])
    assert first.dtype == words.dtype == np.float16
    assert backbone.aligned_channels == WIDTH[kind]
    assert not np.array_equal(first, second)
    assert len(np.unique(words, axis=0)) == 3
    pooled = backbone.aligned([picture(0)], pool=1)[0]
    assert np.allclose(pooled[0], first.astype(np.float32).mean(0), atol=2e-3)


@torch.inference_mode()
def test_a_patch_of_clip_goes_the_way_of_its_class_token(models, backbones):
    whole, backbone = AutoModel.from_pretrained(models["clip"]), backbones["clip"]
    pixels = backbone.pixels([picture()])
    states = whole.vision_model(pixels).last_hidden_state
    own = whole.visual_projection(whole.vision_model.post_layernorm(states))
    assert torch.allclose(own[:, 0], whole.get_image_features(pixels).pooler_output, atol=1e-6)
    patches = backbone.forward_aligned(pixels)
    assert torch.allclose(patches[0, :, 1, 0], own[0, 1 + 2], atol=1e-6)  # second row, behind the class token


@torch.inference_mode()
def test_a_patch_of_siglip_is_pooled_as_a_picture_of_one_patch(models, backbones):
    whole, backbone = AutoModel.from_pretrained(models["siglip"]).vision_model, backbones["siglip"]
    pixels = backbone.pixels([picture()])
    output = whole(pixels)
    assert torch.allclose(whole.head(output.last_hidden_state), output.pooler_output, atol=1e-6)
    patches = backbone.forward_aligned(pixels)
    for k in range(4):
        alone = whole.head(output.last_hidden_state[:, k : k + 1])
        assert torch.allclose(patches[0, :, k // 2, k % 2], alone[0], atol=1e-6)


@both
@torch.inference_mode()
def test_words_are_what_the_text_tower_says(models, backbones, kind):
    whole, tower = AutoModel.from_pretrained(models[kind]), backbones[kind]._text_tower
    pieces = tower.tokenizer(["ball"], padding="max_length", max_length=8, return_tensors="pt")
    names = ["input_ids", "attention_mask"] if kind == "clip" else ["input_ids"]  # SigLIP reads its padding
    expected = whole.get_text_features(**{name: pieces[name] for name in names}).pooler_output
    assert np.allclose(backbones[kind].encode_words(["ball"]), expected, atol=1e-3)


@both
def test_a_word_does_not_depend_on_the_others(backbones, kind):
    encode = backbones[kind].encode_words
    words = ["ball", "a very long phrase that the tower has no room for", "person"] * 30
    together = encode(words)
    assert np.allclose(together[::3], encode(["ball"]), atol=1e-3)
    assert together.shape == (90, WIDTH[kind])
    assert encode([]).shape == (0, WIDTH[kind])


def test_the_reader_aligns_the_grid_and_encodes_words(models):
    settings = PictureSettings.model_validate({"grid": {"model": models["clip"], "aligned": True}})
    reader = PictureReader(settings)
    (parts,) = reader([open_picture(picture())])
    assert parts.grid.shape == (4, 8)
    assert parts.warnings == ()
    assert reader.channels("grid") == 8
    assert reader.encode_words(["ball"]).shape == (1, 8)
    plain = PictureReader(PictureSettings.model_validate({"grid": {"model": models["clip"]}}))
    assert plain.channels("grid") == 16
    assert plain.signature("grid")["settings"] == {"pool": None}
    assert plain.key("grid") != reader.key("grid")


def test_a_model_without_a_text_tower_is_said(models, backbones, tmp_path):
    for use in (lambda b: b.aligned([picture()]), lambda b: b.encode_words(["ball"]), lambda b: b.aligned_channels):
        with pytest.raises(ProviderError, match=r"has no text tower .*CLIP or SigLIP"):
            use(backbones["vit"])
    reader = PictureReader(PictureSettings.model_validate({"grid": {"model": models["vit"], "aligned": True}}))
    (parts,) = reader([open_picture(picture())])
    assert parts.grid is None
    assert "has no text tower" in parts.warnings[0]
    with pytest.raises(ProviderError, match=r"pictures\.grid"):
        PictureReader(PictureSettings()).encode_words(["ball"])
    folder = Path(shutil.copytree(models["clip"], tmp_path / "wordless"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ProviderError, match=r"knows \d+ pieces of .*tokenizer files"):
        Backbone(str(folder)).encode_words(["ball"])
