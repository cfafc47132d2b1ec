"""Saving and loading: equal answers, and a clear refusal of anything that does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import LABELS, POSTS, settings_with
from safetensors.torch import load_file, save_file

from dpe_mner import DPEMNERModel, InputError, load
from dpe_mner.checkpoints.config import DPEMNERConfig
from dpe_mner.checkpoints.loading import save_checkpoint


@pytest.fixture
def copy(saved_model, tmp_path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "copy"))


def test_a_saved_model_answers_as_before(saved_model, tmp_path):
    model = load(saved_model)
    model.save_pretrained(tmp_path / "again")
    again = DPEMNERModel.from_pretrained(tmp_path / "again").eval()
    assert again.predict(POSTS) == model.predict(POSTS)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert again.settings == model.settings


def test_no_pickle_in_a_checkpoint(saved_model):
    names = {path.name for path in Path(saved_model).iterdir()}
    assert "model.safetensors" in names
    assert "_name_or_path" not in json.loads((Path(saved_model) / "config.json").read_text())["encoder"]
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pth", ".pkl"))]


def test_half_precision_weights_load_as_float32(saved_model, tmp_path):
    save_checkpoint(load(saved_model), tmp_path / "half", half=True)
    assert (
        load_file(tmp_path / "half" / "model.safetensors")["network.top.span_gate.gate.weight"].dtype == torch.float16
    )
    model = load(str(tmp_path / "half"))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    full = Path(saved_model) / "model.safetensors"
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.6 * full.stat().st_size


def damaged(copy, change):
    path = copy / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_missing_unexpected_and_misshapen_weights_are_errors(copy):
    name = "network.heads.types.weight"
    original = (copy / "model.safetensors").read_bytes()
    for change, word in (
        (lambda w: w.pop(name), "missing"),
        (lambda w: w.update({"stranger": torch.zeros(1)}), "unexpected"),
        (lambda w: w.update({name: torch.zeros(2, 2)}), "mismatched|cannot be loaded"),
    ):
        (copy / "model.safetensors").write_bytes(original)
        damaged(copy, change)
        with pytest.raises(InputError, match=word):
            load(str(copy))


def test_a_truncated_file_is_one_clear_line(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.safetensors|cannot be loaded"):
        load(str(copy))


def test_foreign_and_incomplete_folders_are_refused(copy, encoders, tmp_path):
    with pytest.raises(InputError, match="not a DPE-MNER model"):
        load(encoders("bert"))
    with pytest.raises(InputError, match="no such checkpoint"):
        load(str(tmp_path / "nowhere"))
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load(str(copy))
    (copy / "config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load(str(copy))
    (copy / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        load(str(copy))


def test_a_checkpoint_without_tokenizer_is_refused(copy):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(InputError, match="tokenizer"):
        load(str(copy))


def test_an_unknown_setting_names_the_nearest_known(copy):
    config = json.loads((copy / "config.json").read_text())
    config["settings"]["fusion"]["lambda_z"] = 0.3
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"fusion\.lambda_z.*did you mean 'lambda_"):
        load(str(copy))


def test_config_survives_json():
    config = DPEMNERConfig(labels=LABELS, settings=settings_with())
    again = DPEMNERConfig.from_dict(json.loads(config.to_json_string()))
    assert again.settings == config.settings
    assert again.label_names == LABELS
    assert again.package_version == config.package_version


def test_labels_must_be_distinct():
    with pytest.raises(InputError, match="distinct"):
        DPEMNERConfig(labels=["PER", "PER"])


def test_an_unusable_device_is_one_clear_line(saved_model):
    with pytest.raises(InputError, match="device"):
        load(saved_model, device="cuda:99" if torch.cuda.is_available() else "cuda")
