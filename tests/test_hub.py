"""Checkpoints on the hub, with the hub played by a folder: what is asked of it, and what is sent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from conftest import POSTS

from dpe_mner import DPEMNERConfig, DPEMNERModel, InputError, load


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Repositories as folders below ``root``; ``asked`` keeps what the hub was asked."""
    root, asked = tmp_path / "hub", []

    def snapshot_download(name, **options):
        asked.append((name, options))
        if not (root / name).is_dir():
            raise FileNotFoundError(f"404: {name}")
        return str(root / name)

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, name, **options):
            asked.append((name, options | {"token": self.token}))
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, *, repo_id, folder_path, **options):
            asked.append((repo_id, options))
            shutil.copytree(folder_path, root / repo_id)
            return "done"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return SimpleNamespace(root=root, asked=asked)


def test_a_pushed_model_is_loaded_by_its_id(hub, saved_model):
    model = load(saved_model)
    model.model_card = "# Card\n"
    assert model.push_to_hub("me/mine", private=True, token="t", commit_message="why") == "done"
    assert hub.asked == [
        ("me/mine", {"private": True, "exist_ok": True, "token": "t"}),
        ("me/mine", {"commit_message": "why"}),
    ]
    names = {path.name for path in (hub.root / "me/mine").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    again = DPEMNERModel.from_pretrained("me/mine", revision="v1", token="t", local_files_only=True)
    name, options = hub.asked[-1]
    assert (name, options["revision"], options["token"], options["local_files_only"]) == ("me/mine", "v1", "t", True)
    assert again.predict(POSTS) == model.predict(POSTS)
    assert again.model_card == "# Card\n"
    assert load("me/mine").predict(POSTS) == model.predict(POSTS)


def test_a_configuration_alone_fetches_no_weights(hub, saved_model):
    shutil.copytree(saved_model, hub.root / "me/mine")
    config = DPEMNERConfig.from_pretrained("me/mine")
    assert config.label_names == ["PER", "LOC", "ORG", "MISC"]
    assert not any("safetensors" in pattern for pattern in hub.asked[-1][1]["allow_patterns"])


def test_an_unknown_id_is_one_line(hub):
    with pytest.raises(InputError, match=r"nobody/nothing: no such folder here, and not fetched from the hub \(404"):
        load("nobody/nothing")


def test_large_weights_are_spread_over_files_and_found_again(saved_model, tmp_path):
    model = load(saved_model)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    again = load(str(tmp_path))
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(InputError, match=r"no model-\d+"):
        load(str(tmp_path))


def test_saving_over_the_folder_a_model_came_from(saved_model, tmp_path):
    folder = Path(shutil.copytree(saved_model, tmp_path / "own"))
    model = load(str(folder))
    before = model.predict(POSTS)
    model.save_pretrained(folder)
    assert model.predict(POSTS) == before == load(str(folder)).predict(POSTS)


def test_loading_draws_no_random_numbers(saved_model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(saved_model)
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_key_of_the_configuration_names_the_nearest(saved_model, tmp_path):
    folder = Path(shutil.copytree(saved_model, tmp_path / "own"))
    values = json.loads((folder / "config.json").read_text())
    values |= {"transformers_version": "5.0", "id2label": {}}
    (folder / "config.json").write_text(json.dumps(values))
    assert load(str(folder)).config.label_names == values["labels"]
    (folder / "config.json").write_text(json.dumps(values | {"label": []}))
    with pytest.raises(InputError, match=r"config\.json: unknown key 'label' \(did you mean 'labels'"):
        load(str(folder))
