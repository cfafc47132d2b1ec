"""Odd data and odd outputs of a training run, met before the first epoch."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from conftest import POSTS, VALID, conll, jsonl
from helpers import assert_refused, run

from dpe_mner.errors import InputError
from dpe_mner.training.folder import refuse_overwriting
from dpe_mner.training.recipe import load_recipe, with_choices
from dpe_mner.training.train import train
from dpe_mner.types import LabelledSpan, Post

ONE_EPOCH = ["training.epochs=1"]


class Begun(Exception):
    """Training would begin now."""


@pytest.fixture
def told(recipe_file, monkeypatch):
    """What is said before the first epoch of a run of a recipe with overrides."""

    def begin(self, **options):
        raise Begun

    monkeypatch.setattr("dpe_mner.training.trainer.EntityTrainer.train", begin)

    def tell(*overrides):
        lines: list[str] = []
        with pytest.raises(Begun):
            train(load_recipe(recipe_file, [f"output={recipe_file.parent}/run", *overrides]), log=lines.append)
        return [line for line in lines if line.startswith("warning: ")]

    return tell


# ---- the output ----


@pytest.mark.parametrize("name", ["2024-06-01", "run x #2", "1e5", "null", "yes", "a: b", "'quoted'", "007", "{x}"])
def test_the_name_of_an_output_is_taken_as_it_is(recipe_file, tmp_path, name):
    recipe = with_choices(load_recipe(recipe_file), output=str(tmp_path / name))
    assert recipe.output == str(tmp_path / name)
    result = run("train", recipe_file, "--output", name, "--set", ONE_EPOCH[0], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / name / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("output=2024-06-01", "output", "2024-06-01"),
        ("output=run x #2", "output", "run x #2"),
        ("name=2017", "name", "2017"),
        ("encoder=1e5", "encoder", "1e5"),
        ("data.folder=no", "data.folder", "no"),
        ("data.images=007", "data.images", "007"),
        ("data.images=null", "data.images", None),
        ("data.folder='a b'", "data.folder", "a b"),
        ("data.label_map.OTHER=1", "data.label_map", {"OTHER": "1"}),
        ("settings.pictures.grid={model: x}", "settings.pictures.grid.model", "x"),
        ("training.epochs=3", "training.epochs", 3),
        ("training.bf16=auto", "training.bf16", "auto"),
        ("training.bf16=true", "training.bf16", True),
    ],
)
def test_a_key_that_holds_text_is_not_read_as_yaml(recipe_file, override, path, value):
    found = load_recipe(recipe_file, [override])
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_dates_in_a_recipe_are_names(write):
    assert load_recipe(write("r.yaml", "encoder: x\noutput: 2024-06-01\n")).output == "2024-06-01"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"README.md": "mine"}, "README.md"),
        ({"recipe.yaml": "encoder: x\n"}, "recipe.yaml"),
        ({"checkpoints/mine": "x"}, "checkpoints"),
        ({"model.safetensors": "x", "config.json": "{}"}, "config.json"),
        ({"metrics.json": "{}"}, "metrics.json"),
    ],
)
def test_a_folder_that_is_not_a_run_is_left_alone(recipe_file, tmp_path, content, message):
    folder = tmp_path / "mine"
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert_refused(run("train", recipe_file, "--output", folder), str(folder), message, "no run")
    assert {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()} == content


def test_other_outputs_that_cannot_be_one(recipe_file, tmp_path):
    assert_refused(run("train", recipe_file, "--output", ".", cwd=tmp_path), "no run")
    file = tmp_path / "file"
    file.write_text("x")
    assert_refused(run("train", recipe_file, "--output", file), "is a file")
    assert_refused(run("train", recipe_file, "--output", file / "below"), "file")
    assert_refused(run("train", recipe_file, "--output", tmp_path / ("x" * 300)), "File name too long")
    assert_refused(run("train", recipe_file, "--output", ""), "--output")
    assert file.read_text() == "x"


def test_a_run_never_writes_over_its_own_recipe(recipe_file, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe_file.read_text())
    assert_refused(run("train", recipe, "--output", folder), "which it reads")
    assert recipe.read_text() == recipe_file.read_text()


def test_a_run_that_ended_in_its_first_epoch_may_begin_again(told, tmp_path):
    assert told() == []
    assert (tmp_path / "run" / "recipe.yaml").is_file()
    assert told() == []
    refuse_overwriting(tmp_path / "run")


# ---- the data ----


def test_splits_without_an_entity_are_refused(recipe_file, write):
    bare = [replace(post, entities=()) for post in POSTS]
    for name in ("train.txt", "valid.txt"):
        before = (recipe_file.parent / name).read_text()
        write(name, conll(bare))
        assert_refused(run("train", recipe_file, "--output", recipe_file.parent / "run"), name, "has an entity")
        write(name, before)
    assert not (recipe_file.parent / "run").exists()


def test_training_on_the_validation_posts_is_told(told, write, tmp_path):
    assert told() == []
    (line,) = told("data.valid=train.txt")
    assert "validation posts are the training posts" in line
    write("same.txt", (tmp_path / "train.txt").read_text())
    (line,) = told("data.valid=same.txt")
    assert "same.txt" in line


def test_one_label_is_told(told):
    lines = told("data.ignore_labels=[LOC, ORG, MISC]")
    assert ["all entities are PER" in line for line in lines] == [True]


def test_posts_without_a_word_are_told(told, write):
    rows = [{"text": "", "entities": []}, {"text": " \n", "entities": []}]
    rows.append({"text": "Kevin in Paris at Apple's Oscars", "entities": [
        {"start": 0, "end": 5, "label": "PER"}, {"start": 9, "end": 14, "label": "LOC"},
        {"start": 18, "end": 23, "label": "ORG"}, {"start": 26, "end": 32, "label": "MISC"}]})  # fmt: skip
    write("odd.jsonl", jsonl(rows))
    (line,) = told("data.train=odd.jsonl")
    assert "2 of 3 posts have no word" in line


def test_no_word_at_all_is_refused(recipe_file, write):
    write("odd.jsonl", jsonl([{"text": "  ", "entities": [{"start": 0, "end": 1, "label": "PER"}]}]))
    with pytest.raises(InputError, match="no post has a word"):
        train(load_recipe(recipe_file, ["data.train=odd.jsonl"]), log=lambda line: None)


def test_entities_that_no_window_holds_are_told(told, write):
    words = ("word",) * 200  # several windows of the tiny encoder
    long = Post(id="long", words=words, entities=(LabelledSpan(start=2, end=190, label="PER"),))
    write("train.txt", conll([*POSTS, long]))
    (line,) = told()
    assert "left out of training: 1 of 7 entities, longer than a window" in line


def test_types_that_validation_lacks_are_told(told, write):
    write("valid.txt", conll([post for post in VALID if post.id[0] != "d"]))
    (line,) = told()
    assert "no entity of type MISC" in line


def test_paths_of_a_recipe_begin_at_home(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = load_recipe(recipe_file, ["output=~/run", "encoder=~/encoder", "data.folder=~/data", "data.train=~/t.txt"])
    assert recipe.output == str(tmp_path / "run")
    assert recipe.encoder == str(tmp_path / "encoder")
    assert recipe.data.path(recipe.data.train) == os.path.join(tmp_path, "t.txt")
    assert recipe.data.path(recipe.data.valid) == os.path.join(tmp_path, "data", "valid.txt")
