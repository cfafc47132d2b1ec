"""Pictures through the whole model: prediction, explanation with grounding, training from a store."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from conftest import FAST, LABELS, POSTS, conll, settings_with
from helpers import lines_of, run
from vision import MAKERS, encoded, picture, write_picture

import dpe_mner
from dpe_mner import InputError
from dpe_mner.explain import collect
from dpe_mner.model import DPEMNERModel
from dpe_mner.reasoning.grounding import best_source
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.train import calibrate, train

pytest.importorskip("lmdb")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return {kind: MAKERS[kind](tmp_path_factory.mktemp(kind)) for kind in ("vit", "detr")}


@pytest.fixture(scope="session")
def parts(models):
    detector = {"model": models["detr"], "threshold": 0.0}
    return {
        "grid": {"model": models["vit"], "pool": 2},
        "tags": detector,
        "regions": {"detector": detector, "pool": 1},
    }


@pytest.fixture
def model(build, parts):
    made = build(pictures=parts, fusion={"coarse_image_size": 16, "fine_image_size": 16}, decision={"threshold": 0.0})
    with torch.no_grad():
        made.network.heads.types.weight.mul_(100)  # fresh logits lie too close for vision to move them
    return made


@pytest.fixture
def images(tmp_path):
    for k, post in enumerate(POSTS):
        write_picture(tmp_path / "images" / f"{post.id}.png", k)
    return tmp_path / "images"


def text_of(index: int) -> str:
    return " ".join(POSTS[index].words)


def test_a_sentence_and_a_picture_give_entities(model, images):
    answer = model.predict(text_of(0), image=images / "a.png", explain=True)
    assert answer.entities
    assert answer.warnings == []
    present = answer.representations
    assert present["y_c"]
    assert present["y_f"]
    assert present["y_ft"]
    assert not present["y_ct"]
    assert all(0 < answer.relevance[i][j] < 1 for i in ("token", "sentence", "span") for j in ("coarse", "fine"))


def test_every_kind_of_picture_is_taken(model, images):
    path = images / "a.png"
    answers = [
        model.predict(text_of(0), image=image, explain=True)
        for image in (path, str(path), path.read_bytes(), picture(0), np.asarray(picture(0)))
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].relevance != model.predict(text_of(0), image=picture(3), explain=True).relevance


def test_a_post_with_a_picture_is_the_same_in_any_company(model, images):
    posts = [replace(post, entities=None, image=str(images / f"{post.id}.png")) for post in POSTS]
    posts += [replace(posts[0], image=None), replace(posts[1], image=str(images / "none.png"))]
    alone = [model.predict(post) for post in posts]
    for batch_size in (1, 3, 32):
        assert model.predict(posts, batch_size=batch_size) == alone
    assert model.predict(posts[::-1]) == alone[::-1]


@pytest.mark.parametrize(
    "image", ["missing.jpg", b"", b"no picture", "https://example.org/a.jpg", encoded(picture())[:99]]
)
def test_a_bad_picture_costs_the_picture_only(model, image):
    answer = model.predict(text_of(1), image=image, explain=True)
    (warning,) = answer.warnings
    assert "the text is used without it" in warning
    assert answer.entities == model.predict(text_of(1))
    assert not any(answer.representations[name] for name in ("y_c", "y_ct", "y_f", "y_ft"))


def test_a_model_without_pictures_says_so(build, images):
    plain = build(decision={"threshold": 0.0})
    answer = plain.predict(text_of(0), image=images / "a.png", explain=True)
    assert "picture not used" in answer.warnings[0]
    with pytest.warns(UserWarning, match="picture not used"):
        assert plain.predict(text_of(0), image=images / "a.png") == answer.entities


def test_any_model_reads_tags_made_from_the_picture(build, models, images):
    plain = build(decision={"threshold": 0.0})
    plain.use_pictures(models={"tags": models["detr"]})
    answer = plain.predict(text_of(0), image=images / "a.png", explain=True)
    (seen,) = plain.pictures([dpe_mner.Post(text=text_of(0), image=images / "a.png")])
    assert answer.representations["y_ft"] == bool(seen.post.tags)
    assert not answer.representations["y_c"]
    with pytest.raises(InputError, match="trained without y_c"):
        plain.use_pictures(models={"grid": models["vit"]})


def test_a_missing_provider_is_a_warning_and_the_rest_goes_on(model, models, images):
    model.use_pictures(models={"tags": "/gone", "regions": models["detr"]})
    answer = model.predict(text_of(0), image=images / "a.png", explain=True)
    assert ["y_ft (tags) is left out" in warning for warning in answer.warnings] == [True]
    assert answer.representations["y_c"]
    assert answer.representations["y_f"]
    assert not answer.representations["y_ft"]


def test_entities_are_grounded_in_regions_or_tags(model, images, monkeypatch):
    monkeypatch.setattr(collect, "best_source", partial(best_source, least=0.0))  # fresh attention is even
    monkeypatch.setattr(collect, "LEAST_INFLUENCE", 0.0)  # and what spans see of tags moves a fresh model little
    answer = model.predict(text_of(0), image=images / "a.png", explain=True, steps=1)
    assert answer.grounding
    for grounding in answer.grounding:
        assert 0 <= grounding.entity < len(answer.entities)
        assert grounding.source in {"region", "tag"}
        assert grounding.name in {"person", "ball", "cup"}
        assert grounding.box is not None
        assert 0 < grounding.weight <= 1
    assert json.loads(json.dumps(answer.as_dict(explain=True)))["grounding"]
    tags = model.predict(text_of(0), tags=["traffic light", "cup"], explain=True, steps=1).grounding
    assert {(g.source, g.box) for g in tags} == {("tag", None)}
    assert {g.name for g in tags} <= {"traffic light", "cup"}


@pytest.fixture
def recipe_file(tmp_path, encoders, write, parts, images):
    write("train.txt", conll(POSTS * 2))
    write("valid.txt", conll(POSTS))
    values = {
        "encoder": encoders("bert-uncased"),
        "data": {"folder": str(tmp_path), "images": "images"},
        "settings": {**FAST, "pictures": parts},
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "visual_dropout": 0.2},
        "output": str(tmp_path / "run"),
    }
    return write("recipe.yaml", yaml.safe_dump(values))


def quiet(_: str) -> None:
    pass


def test_training_on_pictures_in_one_command(recipe_file, tmp_path, images):
    lines = []
    metrics = train(load_recipe(recipe_file), log=lines.append)
    assert "pictures: 4 made" in lines[0]
    assert metrics["pictures"] == ["grid", "regions", "tags"]
    trained = dpe_mner.load(str(tmp_path / "run"))
    assert trained.settings.fusion.coarse_image_size == 16
    assert trained.settings.pictures.grid.fingerprint
    answer = trained.predict(text_of(0), image=images / "a.png", explain=True)
    assert answer.warnings == []
    assert answer.representations["y_c"]
    calibrate(tmp_path / "run", ["settings.reasoning.steps=2"], log=quiet)


@pytest.mark.slow
def test_a_store_alone_trains_the_same(recipe_file, tmp_path, images, parts):
    first = train(load_recipe(recipe_file, [f"output={tmp_path}/one", "data.features=store"]), log=quiet)
    workers = [f"output={tmp_path}/two", "data.features=store", "training.workers=2"]
    second = train(load_recipe(recipe_file, workers), log=quiet)
    assert [e["losses"] for e in second["history"]] == [e["losses"] for e in first["history"]]
    images.rename(tmp_path / "moved")  # neither pictures nor models: the store is enough
    gone = {**parts, "grid": {"model": "/gone", "pool": 2}}
    alone = [f"output={tmp_path}/three", "data.features=store", f"settings.pictures={json.dumps(gone)}"]
    third = train(load_recipe(recipe_file, alone), log=quiet)
    assert [e["losses"] for e in third["history"]] == [e["losses"] for e in first["history"]]


def test_bad_pictures_do_not_stop_training(recipe_file, images):
    (images / "a.png").write_bytes(b"no picture")
    (images / "b.png").unlink()
    lines = []
    train(load_recipe(recipe_file), log=lines.append)
    assert "2 not usable" in lines[0]
    assert any("a.png" in line for line in lines)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.images=null", "data.images"),
        ("data.images=nowhere", "no such folder"),
        ("settings.pictures.grid.model=/nowhere", "cannot be loaded"),
    ],
)
def test_wrong_picture_recipes_are_one_line(recipe_file, override, message):
    with pytest.raises(InputError, match=message):
        train(load_recipe(recipe_file, [override]), log=quiet)


def test_the_command_takes_a_picture(encoders, parts, models, images, tmp_path):
    encoder = encoders("bert-uncased")
    torch.manual_seed(1)
    settings = settings_with(
        pictures=parts, fusion={"coarse_image_size": 16, "fine_image_size": 16}, decision={"threshold": 0.0}
    )
    DPEMNERModel.from_encoder(encoder, labels=LABELS, settings=settings).save_pretrained(tmp_path / "m")
    command = ("predict", "--text", text_of(0), "--model", tmp_path / "m", "--explain")
    (row,) = lines_of(run(*command, "--image", images / "a.png").stdout)
    assert row["warnings"] == []
    assert row["representations"]["y_c"] is True
    (row,) = lines_of(run(*command, "--image", "http://localhost/a.jpg").stdout)
    assert "--fetch-urls" in row["warnings"][0]
    (row,) = lines_of(run(*command, "--image", images / "a.png", "--picture-model", "grid=/gone").stdout)
    assert "y_c (grid) is left out" in " ".join(row["warnings"])
    posts = tmp_path / "posts.jsonl"
    posts.write_text("".join(json.dumps({"id": p.id, "words": list(p.words)}) + "\n" for p in POSTS))
    rows = lines_of(run("predict", posts, "--images", images, "--model", tmp_path / "m").stdout)
    assert [row["warnings"] for row in rows] == [[]] * 4  # found by the posts' ids


def test_the_core_works_without_the_extras(saved_model, tmp_path):
    import subprocess
    import sys

    script = (
        "import sys\n"
        "for name in ('PIL', 'lmdb', 'onnxruntime', 'onnx', 'onnxscript', 'matplotlib'): sys.modules[name] = None\n"
        "from dpe_mner.commands.main import main\n"
        "main()\n"
    )

    def call(*arguments):
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    post = ("predict", "--model", saved_model, "--text", "Kevin Durant")
    assert call(*post).returncode == 0
    assert "picture not used" in call(*post, "--image", "a.jpg").stdout
    for arguments in (
        (*post, "--image", "a.jpg", "--picture-model", "tags=x.onnx"),
        ("extract", "--images", tmp_path, "--output", tmp_path / "s", "--grid", "x"),
        ("export", "--model", saved_model, "--output", tmp_path / "e"),
    ):
        (tmp_path / "a.jpg").touch()
        result = call(*arguments)
        assert result.returncode == 2, arguments
        assert "pip install" in result.stderr
        assert "Traceback" not in result.stderr
