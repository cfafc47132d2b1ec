"""Settings: few, held once, changed through one call; those that are gone are told of by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import POSTS, batch_of

from dpe_mner import InputError, load
from dpe_mner.checkpoints.config import DPEMNERConfig
from dpe_mner.checkpoints.removed import REMOVED, without_removed
from dpe_mner.settings import Section, Settings
from dpe_mner.training.recipe import load_recipe

MOST = 64  # 63 of the paper and its additions; pictures.objects, which DebiasCL of Table 1 draws its hard posts by


def keys() -> set[str]:
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {f"{name}.{key}" for name, section in sections.items() for key in section.model_fields}


def test_settings_do_not_grow():
    assert len(keys()) <= MOST


def test_what_is_gone_is_gone():
    assert not keys() & REMOVED.keys()
    assert {key.partition(".")[0] for key in REMOVED} <= Settings.model_fields.keys()


def sections_held(part, seen=None) -> list[Section]:
    """Every group of settings that anything below an object holds."""
    seen = set() if seen is None else seen
    if id(part) in seen:
        return []
    seen.add(id(part))
    if isinstance(part, Section):
        return [part]
    if isinstance(part, dict):
        below = list(part.values())
    elif isinstance(part, list | tuple):
        below = list(part)
    elif type(part).__module__.startswith(("dpe_mner", "torch.nn")):
        below = list(vars(part).values())
    else:
        below = []
    return [found for value in below for found in sections_held(value, seen)]


def test_every_holder_has_the_changed_settings(build, posts):
    model = build()
    model.predict(posts)  # fills whatever is filled when it is first used
    before = sections_held(model)
    assert len(before) > 3
    model.configure(
        reasoning={"steps": 2, "eta": 1.0, "time_power": 3.0},
        decision={"threshold": 0.5},
        encoder={"caption_layers": 1},
    )
    now = model.settings
    assert (now.reasoning.steps, now.decision.threshold, now.encoder.caption_layers) == (2, 0.5, 1)
    current = {type(value): value for value in (now, *(getattr(now, name) for name in Settings.model_fields))}
    for held in sections_held(model):
        assert held == current[type(held)]


def test_a_configured_model_answers_as_one_that_was_saved_so(build, tmp_path):
    model = build()
    plain = model.predict(POSTS)
    model.configure(reasoning={"steps": 1, "spans": 7}, decision={"threshold": 0.2}, encoder={"caption_layers": 1})
    model.save_pretrained(tmp_path / "changed")
    again = load(str(tmp_path / "changed"))
    assert again.settings == model.settings
    assert again.predict(POSTS) == model.predict(POSTS) != plain


def test_a_whole_section_may_be_given_back(build):
    model = build()
    kept = model.settings
    model.configure(reasoning={"steps": 1}, encoder={"caption_layers": 1})
    assert model.settings != kept
    model.configure(reasoning=kept.reasoning, encoder=kept.encoder)
    assert model.settings == kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": {"lambda_x": 0.1}}, r"settings\.fusion\.lambda_x: cannot change on a loaded model"),
        ({"encoder": {"window_words": 64}}, r"settings\.encoder\.window_words: cannot change"),
        ({"loss": {"unroll": 1}}, r"settings\.loss\.unroll: cannot change"),
        ({"noise": {"spans": 5}}, r"settings\.noise\.spans: cannot change"),
        ({"reasoning": {"stepps": 5}}, r"unknown key 'reasoning\.stepps'.*did you mean 'steps'"),
        ({"reasoning": {"steps": 0}}, r"reasoning\.steps: .*greater than or equal to 1"),
        ({"reasonning": {"steps": 2}}, r"unknown key 'reasonning'"),
    ],
)
def test_anything_else_is_one_clear_line_and_changes_nothing(build, changes, message):
    model = build()
    kept = model.settings
    with pytest.raises(InputError, match=message) as refused:
        model.configure(decision={"threshold": 0.9}, **changes)
    assert "\n" not in str(refused.value)
    assert model.settings == kept


def test_settings_are_frozen_and_held_once(build):
    model = build()
    with pytest.raises(AttributeError):
        model.settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        model.settings.reasoning.steps = 3
    assert model.settings is model.config.settings


def test_an_older_configuration_names_what_is_gone_and_still_loads():
    written = json.loads((Path(__file__).parent / "golden" / "config-47b92bb.json").read_text())
    named = {f"{name}.{key}" for name, values in written["settings"].items() for key in values} & REMOVED.keys()
    assert len(named) > 8
    config = DPEMNERConfig.from_dict(written)
    for name, values in written["settings"].items():
        now = getattr(config.settings, name).model_dump()
        assert {k: v for k, v in values.items() if k in now and now[k] != v} == {}
    again = config.to_dict()["settings"]
    assert not named & {f"{name}.{key}" for name, values in again.items() for key in values}


IMPLIED = {
    "encoder.pooling": "mean",
    "encoder.characters": False,
    "noise.beta_schedule": "cosine",
    "noise.expand": "repeat",
    "fusion.bottleneck_layers": 2,
    "fusion.bottleneck_tokens": 4,
    "fusion.direct_layers": 1,
    "fusion.relevance_rank": 64,
    "heads.span_pooling": "mean",
    "heads.tagging": True,
    "loss.boundary": 1.0,
    "loss.type": 1.0,
    "decision.label_thresholds": {},
}
FOREIGN = {
    "encoder.pooling": "first",
    "encoder.characters": True,
    "noise.beta_schedule": "linear",
    "fusion.bottleneck_layers": 3,
    "fusion.bottleneck_tokens": 8,
    "fusion.relevance_rank": 8,
    "heads.span_pooling": "mean+ends",
    "decision.label_thresholds": {"PER": 0.5},
}


def with_setting(sections, key, value):
    name, _, setting = key.partition(".")
    return {**sections, name: {**sections.get(name, {}), setting: value}}


@pytest.mark.parametrize("key", REMOVED)
def test_a_checkpoint_may_name_what_is_now_implied(key):
    assert without_removed(with_setting({}, key, IMPLIED[key]), where="config.json", version="0.0.9") in (
        {},
        {key.partition(".")[0]: {}},
    )


@pytest.mark.parametrize("key", FOREIGN)
def test_a_checkpoint_of_another_model_says_who_wrote_it_and_what_to_do(key, saved_model, tmp_path):
    folder = Path(shutil.copytree(saved_model, tmp_path / "old"))
    written = json.loads((folder / "config.json").read_text())
    written["package_version"] = "0.0.9"
    written["settings"] = with_setting(written["settings"], "heads.variant", "paper")
    written["settings"] = with_setting(written["settings"], key, FOREIGN[key])
    (folder / "config.json").write_text(json.dumps(written))
    with pytest.raises(InputError) as refused:
        load(str(folder))
    told = str(refused.value)
    assert "\n" not in told
    for part in ("config.json: ", "dpe-mner 0.0.9", f"settings.{key} = {FOREIGN[key]!r}", "train it anew"):
        assert part in told


def test_what_another_form_of_eq_5_would_read_does_not_matter():
    direct = {"fusion": {"exchange": "direct", "bottleneck_tokens": 8, "bottleneck_layers": 3}}
    assert without_removed(direct, where="", version=None) == {"fusion": {"exchange": "direct"}}
    with pytest.raises(InputError, match="direct_layers = 2"):
        without_removed({"fusion": {"exchange": "direct", "direct_layers": 2}}, where="", version=None)


def test_a_checkpoint_without_a_tagger_has_none():
    written = {"heads": {"tagging": False}, "loss": {"tagging": 1.0, "align_span": 0.1}}
    kept = {"heads": {}, "loss": {"tagging": 0.0, "align_span": 0.1}}
    assert without_removed(written, where="", version=None) == kept
    with pytest.raises(InputError, match=r"heads\.tagging = True"):  # a tagger that nothing trained, but it is there
        without_removed({"heads": {"tagging": True}, "loss": {"tagging": 0.0}}, where="", version=None)


@pytest.mark.parametrize("key", REMOVED)
def test_a_recipe_is_told_what_there_is_instead(key, write):
    sections = with_setting({}, key, IMPLIED[key])
    path = write("recipe.yaml", yaml.safe_dump({"encoder": "x", "settings": sections}))
    with pytest.raises(InputError) as refused:
        load_recipe(path)
    assert str(refused.value) == f"{path}: settings.{key} was removed; {REMOVED[key].instead}"
    assert load_recipe(path, written=True).settings == Settings()


def test_an_override_is_told_too(write):
    path = write("recipe.yaml", "encoder: x\n")
    with pytest.raises(InputError, match=r"settings\.heads\.tagging was removed; set settings\.loss\.tagging"):
        load_recipe(path, ["settings.heads.tagging=true"])
    with pytest.raises(InputError, match=r"settings\.heads\.tagging was removed"):
        load_recipe(path, ["settings.heads.tagging=true"], written=True)


@torch.no_grad()
def test_a_tagger_is_there_when_its_loss_weighs(build):
    for weight in (0.0, 0.5):
        model = build(loss={"tagging": weight})
        assert any("tagger" in name for name in model.state_dict()) == (weight > 0)
        parts = model(batch_of(model, POSTS, gold=True), torch.Generator().manual_seed(0)).parts
        assert ("tagging" in parts) == (weight > 0)
