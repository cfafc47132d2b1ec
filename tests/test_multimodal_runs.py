"""Training the multimodal systems from a recipe, end to end: with captions and tags, from pictures, from the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from baseline_parts import quiet
from conftest import FAST, POSTS, conll, jsonl
from helpers import assert_refused, run
from multimodal_parts import MULTIMODAL, SMALL
from safetensors.torch import load_file
from vision import clip, detr, resnet, write_picture

import dpe_mner
from dpe_mner import InputError
from dpe_mner.baselines.model import BaselineModel
from dpe_mner.baselines.systems import SYSTEMS
from dpe_mner.pipeline import PredictionOptions

WITHOUT_PIXELS = ["cat-mner", "fmit", "mner-qg", "visualpt-moe"]


@pytest.fixture(scope="session")
def backbones(tmp_path_factory):
    made = {"resnet": resnet, "detr": detr, "clip": clip}
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in made.items()}


@pytest.fixture
def recipe_file(tmp_path, encoders, write):
    def make(kind: str, pictures: dict | None = None, **changes) -> Path:
        write("train.txt", conll(POSTS * 2))
        write("valid.txt", conll(POSTS))
        text = [{"image_id": p.id, "caption": p.caption or "", "tags": list(p.tags or ())} for p in POSTS]
        write("visual.jsonl", jsonl(text))
        data = {"folder": str(tmp_path), "visual_text": "visual.jsonl"}
        if pictures is not None:
            data["images"] = "images"
        values = {
            "name": "tiny",
            "encoder": encoders("bert-uncased"),
            "data": data,
            "settings": {**FAST, "pictures": pictures or {}},
            "training": {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "visual_dropout": 0.2, "seed": 5},
            "baseline": {"system": kind, **SMALL},
            "output": str(tmp_path / "run"),
        }
        return write("recipe.yaml", yaml.safe_dump(values | changes))

    return make


@pytest.mark.parametrize("kind", WITHOUT_PIXELS)
def test_a_recipe_trains_a_system_that_is_loaded_as_any_model(recipe_file, tmp_path, kind):
    metrics = dpe_mner.train(recipe_file(kind))
    assert metrics["baseline"] == kind
    assert metrics["version"] == "repaired"
    assert metrics["representations"] == [n for n in ("y_ct", "y_ft") if n in SYSTEMS[kind].reads]
    loaded = dpe_mner.load(tmp_path / "run")
    assert isinstance(loaded, BaselineModel)
    posts = [dpe_mner.Post(id=p.id, words=p.words, caption=p.caption, tags=p.tags) for p in POSTS]
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    answers = loaded.predict(posts, batch_size=3)
    assert [[e.text for e in answer] for answer in answers] == [[e["text"] for e in row["entities"]] for row in rows]
    report = dpe_mner.evaluate(tmp_path / "valid.txt", model=loaded, visual_text=tmp_path / "visual.jsonl")
    assert report.overall.f1 == pytest.approx(metrics["f1"], abs=1e-6)
    with pytest.raises(InputError, match=r"steps.*does not reason"):
        loaded.predict("Kevin", steps=3)
    with pytest.raises(InputError, match="explain"):
        loaded.predict("Kevin", explain=True)


PICTURED = {
    "adacoatt": "grid",
    "umt": "grid",
    "hvpnet": "stages",
    "mner-qg": "grid",
    "debiascl": "objects",
    "visualpt-moe": "stages",
    "fmit": "stages",
    "cat-mner": "aligned",
}


@pytest.mark.parametrize("kind", MULTIMODAL)
def test_each_trains_from_pictures_and_reads_them_when_it_predicts(recipe_file, backbones, tmp_path, kind):
    for k, post in enumerate(POSTS[:3]):  # one post has none
        write_picture(tmp_path / "images" / f"{post.id}.png", k)
    detector = {"model": backbones["detr"], "threshold": 0.0}
    wanted = PICTURED[kind]
    stages = wanted == "stages"
    grid = {"model": backbones["resnet"], "pool": 2, "stages": stages}
    regions = {"detector": detector, "pool": 2, "stages": stages}
    parts = {"grid": grid, "regions": regions, "tags": detector, "objects": {k: detector[k] for k in detector}}
    if wanted == "aligned":
        parts["grid"] = {"model": backbones["clip"], "aligned": True}
    lines: list[str] = []
    metrics = dpe_mner.train(recipe_file(kind, parts), log=lines.append)
    reads = SYSTEMS[kind].reads
    assert {"y_c"} & set(reads) <= set(metrics["representations"]) <= set(reads)
    description = json.loads((tmp_path / "run" / "baseline.json").read_text())
    made = {name for name, section in description["pictures"].items() if isinstance(section, dict)}
    assert made >= {"grid"} or kind == "fmit"
    assert ("objects" in made) == (kind == "debiascl")
    assert len(description["vision"]["stages"]) == (2 if stages else 0)
    loaded = dpe_mner.load(tmp_path / "run")
    batches = []
    decode = loaded.built.model.decode
    loaded.built.model.decode = lambda batch: batches.append(batch) or decode(batch)
    text = " ".join(POSTS[1].words)
    posts = [dpe_mner.Post(text=text, image=tmp_path / "images" / name) for name in ("a.png", "b.png")]
    together = loaded.predict([*posts, dpe_mner.Post(text=text)])
    (pictured,) = [b for b in batches if any(part is not None for part in (b.coarse, b.fine, b.tags))]
    seen = [part.features for part in (pictured.coarse, pictured.fine) if part is not None]
    assert all(not torch.equal(part[0], part[1]) for part in seen)
    assert seen
    assert (pictured.objects is not None) == (kind == "debiascl")
    for post, answer in zip([*posts, dpe_mner.Post(text=text)], together, strict=True):
        assert loaded.predict([post]) == [answer]


def test_saved_and_loaded_are_equal(recipe_file, tmp_path):
    dpe_mner.train(recipe_file("cat-mner"))
    first = load_file(tmp_path / "run" / "model.safetensors")
    loaded = dpe_mner.load(tmp_path / "run").built.model.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in first.items())
    assert set(first) == set(loaded)


# --- from the shell


def test_the_commands_take_a_system_as_they_take_our_model(recipe_file, tmp_path):
    recipe = recipe_file("visualpt-moe")
    assert b"training visualpt-moe on 8 posts" in run("train", recipe).stderr
    folder = tmp_path / "run"
    told = run("info", "--model", folder).stdout.decode()
    assert "visualpt-moe" in told
    assert "text, y_ct, y_ft" in told
    scores = tmp_path / "scores.json"
    assert run("evaluate", tmp_path / "valid.txt", "--model", folder, "--json", scores).returncode == 0
    assert json.loads(scores.read_text())["steps"] == 1
    assert run("predict", "--text", "Kevin Durant", "--caption", "a player", "--model", folder).returncode == 0
    for words, command in (
        ("does not reason", ("predict", "--text", "Kevin", "--model", folder, "--explain")),
        ("span states", ("evaluate", tmp_path / "valid.txt", "--model", folder, "--control", "mean-state")),
        ("int8", ("predict", "--text", "Kevin", "--model", folder, "--int8")),
    ):
        assert_refused(run(*command), words)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ({"system": "umd"}, "unknown baseline 'umd'.*did you mean 'umt'"),
        ({}, "tiny"),
        ({"system": "umt"}, r"needs pictures: umt reads image features \(y_c, from data\.images"),
        ({"system": "umt", "versions": "x"}, "did you mean 'version'"),
        ({"version": "faithful"}, "baseline has no system"),
        ({"system": "mner-qg", "mner_qg": {"queries": {"PER": "who is it " * 30}}}, "leave no room for a text"),
    ],
)
def test_bad_systems_are_one_line(recipe_file, baseline, words):
    if not baseline:
        assert dpe_mner.train(recipe_file("x", baseline={}), overrides=["training.epochs=1"])["name"] == "tiny"
        return
    with pytest.raises(InputError, match=words):
        dpe_mner.train(recipe_file("x", baseline=baseline))


def test_a_prefix_needs_a_bert_or_roberta(recipe_file, encoders):
    with pytest.raises(InputError, match=r"visualpt-moe puts a prefix.*electra"):
        dpe_mner.train(recipe_file("visualpt-moe", encoder=encoders("electra")))


def test_a_grid_in_no_space_of_words_is_no_use_to_cat_mner(recipe_file, backbones, tmp_path):
    write_picture(tmp_path / "images" / "a.png", 0)
    with pytest.raises(InputError, match=r"grid\.aligned=true"):
        dpe_mner.train(recipe_file("cat-mner", {"grid": {"model": backbones["resnet"]}}))


def test_resuming_another_system_is_refused(recipe_file):
    dpe_mner.train(recipe_file("cat-mner"), log=quiet)
    with pytest.raises(InputError, match=r"another baseline \(kind differs"):
        dpe_mner.train(recipe_file("visualpt-moe"), resume=True)


# --- real pictures

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason="needs ../shared: 23 real pictures and MobileNetV2")
@pytest.mark.parametrize("kind", MULTIMODAL)
def test_each_trains_end_to_end_from_real_pictures(recipe_file, tmp_path, kind):
    sample = SHARED / "data" / "mner_sample"
    grid = {"model": str(SHARED / "weights" / "mobilenet_v2"), "pool": 2}
    if kind in ("hvpnet", "visualpt-moe"):
        grid["stages"] = True
    yolox = {"model": str(SHARED / "weights" / "yolox_nano" / "yolox_nano.onnx"), "threshold": 0.3}
    parts = {
        "grid": grid,
        "tags": yolox,
        "regions": {"detector": yolox, "pool": 2, "stages": grid.get("stages", False)},
    }
    if kind == "debiascl":
        parts["objects"] = yolox
    if kind == "cat-mner":  # MobileNetV2 has no text tower
        del parts["grid"], parts["regions"]
    data = {"folder": str(sample), "train": "posts.txt", "valid": "posts.txt", "images": "images"}
    training = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "encoder_learning_rate": 1e-3}
    recipe = recipe_file(kind, parts, data=data | {"features": str(tmp_path / "store")}, training=training)
    lines: list[str] = []
    metrics = dpe_mner.train(recipe, log=lines.append)
    losses = [sum(entry["losses"].values()) for entry in metrics["history"]]
    assert losses[-1] < losses[0]
    assert any("23 made" in line for line in lines)
    assert metrics["representations"]
    images = sorted((sample / "images").glob("*.jpg"))[:2]
    posts = [dpe_mner.Post(text="Kevin Durant enters Oracle Arena", image=image) for image in images]
    predictions = list(dpe_mner.load(tmp_path / "run").predictions(posts, PredictionOptions()))
    assert [prediction.warnings for prediction in predictions] == [[], []]  # read, without a complaint
