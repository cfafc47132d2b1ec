"""Sharing a model through the hub's own protocol, spoken by a server on this machine."""

from __future__ import annotations

import json

import pytest
import yaml
from conftest import FAST, POSTS, conll
from hub_server import hub_server
from huggingface_hub import ModelCard

from dpe_mner import DPEMNERModel, InputError, load, train


@pytest.fixture
def hub(monkeypatch):
    with hub_server(monkeypatch) as running:
        yield running


def test_pushed_loaded_and_loaded_again_at_an_earlier_commit(hub, saved_model, tmp_path):
    model = load(saved_model)
    model.model_card = "# One\n"
    first = model.push_to_hub("me/mine", token=hub.token, commit_message="Add the model")
    model.model_card = "# Two\n"
    second = model.push_to_hub("me/mine", token=hub.token, commit_message="Say more")
    assert first.oid != second.oid
    cache = tmp_path / "cache"
    newest = DPEMNERModel.from_pretrained("me/mine", token=hub.token, cache_dir=cache)
    earlier = DPEMNERModel.from_pretrained("me/mine", revision=first.oid, token=hub.token, cache_dir=cache)
    assert (newest.model_card, earlier.model_card) == ("# Two\n", "# One\n")
    assert newest.predict(POSTS) == model.predict(POSTS)
    asked = len(hub.asked)
    offline = DPEMNERModel.from_pretrained("me/mine", cache_dir=cache, local_files_only=True)
    assert offline.predict(POSTS) == model.predict(POSTS)
    assert len(hub.asked) == asked  # nothing was fetched


def test_a_private_repository_a_wrong_token_and_an_unknown_revision_are_one_line(hub, saved_model, tmp_path):
    load(saved_model).push_to_hub("me/secret", private=True, token=hub.token)
    for options in ({}, {"token": "hf_wrong"}, {"token": hub.token, "revision": "no-such-branch"}):
        with pytest.raises(InputError, match=r"me/secret: no such folder here, and not fetched from the hub") as told:
            DPEMNERModel.from_pretrained("me/secret", cache_dir=tmp_path / "cache", **options)
        assert "\n" not in str(told.value)
    DPEMNERModel.from_pretrained("me/secret", token=hub.token, cache_dir=tmp_path / "cache")


def test_the_card_of_a_trained_model_has_what_leaderboards_read(hub, encoders, write, tmp_path):
    write("train.txt", conll(POSTS))
    write("valid.txt", conll(POSTS))
    values = {
        "name": "A tiny model",
        "encoder": encoders("bert-uncased"),
        "data": {"folder": str(tmp_path)},
        "settings": FAST,
        "training": {"epochs": 1, "batch_size": 4},
        "output": str(tmp_path / "run"),
    }
    metrics = train(write("recipe.yaml", yaml.safe_dump(values)))
    load(tmp_path / "run").push_to_hub("me/tiny", token=hub.token)
    _, files = hub.files("me/tiny", "main")
    card = ModelCard(files["README.md"].decode())
    assert card.data.library_name == "dpe-mner"
    assert card.data.pipeline_tag == "token-classification"
    assert card.data.license == "apache-2.0"
    found = {result.metric_type: result for result in card.data.eval_results}
    assert set(found) == {"precision", "recall", "f1"}
    assert found["f1"].metric_value == pytest.approx(metrics["f1"] / 100, abs=5e-5)
    assert found["f1"].dataset_split == "validation"
    assert found["f1"].verified is None  # our own figure, nobody else's
    assert set(json.loads(files["config.json"])["labels"]) == {"PER", "LOC", "ORG", "MISC"}


def test_a_corpus_a_result_of_its_own(tmp_path):
    from dpe_mner.training.model_card import results_of

    validation = {"precision": 50.0, "recall": 40.0, "f1": 44.444}
    sources = [{"name": "one", "validation": validation}, {"name": "two", "validation": validation | {"f1": 10.0}}]
    results = results_of({"sources": sources, "validation": validation})
    assert [(r.dataset_name, r.metric_value) for r in results if r.metric_type == "f1"] == [
        ("one, validation", 0.4444),
        ("two, validation", 0.1),
    ]
