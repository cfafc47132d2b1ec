"""Training from Python on tables of the datasets library: they become files of the run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from conftest import LABELS, POSTS, settings_with
from test_tables import Table

import dpe_mner
from dpe_mner import InputError
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.sources import load_splits
from dpe_mner.training.tables import splits_of, with_tables

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-MISC", "I-MISC"]


def row(post):
    tags = [0] * len(post.words)
    for entity in post.entities:
        tags[entity.start : entity.end] = [NAMES.index(f"I-{entity.label}")] * (entity.end - entity.start)
        tags[entity.start] -= 1
    return {"id": post.id, "tokens": list(post.words), "ner_tags": tags, "caption": post.caption}


def table(posts=POSTS):
    return Table([row(post) for post in posts], NAMES)


@pytest.fixture
def recipe(recipe_file, tmp_path):
    return load_recipe(recipe_file, [f"output={tmp_path / 'run'}"])


def quiet(_: str) -> None:
    pass


def test_tables_are_read_as_posts_are(recipe, tmp_path):
    lines = []
    made = with_tables(
        recipe, splits_of({"train": table(), "validation": table(POSTS[:2])}, None), resume=False, log=lines.append
    )
    train, valid = load_splits(made, log=quiet)
    assert [(p.id, tuple(p.words), tuple(p.entities), p.caption) for p in train.posts] == [
        (p.id, p.words, p.entities, p.caption or "a player") for p in POSTS  # the recipe's visual text, still joined
    ]  # fmt: skip
    assert [post.id for post in valid.posts] == ["a", "b"]
    assert (tmp_path / "run" / "tables" / "train.jsonl").is_file()
    assert lines == []


def test_texts_with_entities_and_the_recipes_labels(recipe):
    rows = Table([{"text": "Tim in Paris", "entities": [{"start": 0, "end": 3, "label": "HUMAN"}]}])
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"label_map": {"HUMAN": "PER"}})})
    made = with_tables(recipe, splits_of(rows, rows), resume=False, log=quiet)
    train, _ = load_splits(made, log=quiet)
    assert [(e.start, e.end, e.label) for e in train.posts[0].entities] == [(0, 3, "PER")]


def test_pictures_of_the_rows_are_files_of_a_run_that_reads_pictures(recipe):
    rows = Table([{"text": "a", "image": np.full((4, 6, 3), 9, np.uint8)}, {"text": "b", "image": b"no picture"}])
    lines = []
    plain = with_tables(recipe, {"train": rows, "valid": rows}, resume=False, log=lines.append)
    assert plain.data.images is None
    assert lines == ["warning: 4 pictures in memory of the tables are not used"]
    reads = recipe.model_copy(update={"settings": settings_with(pictures={"grid": {"model": "x"}})})
    made = with_tables(reads, {"train": rows, "valid": rows}, resume=False, log=lines.append)
    assert lines[1:] == ["warning: 2 pictures that cannot be opened of the tables are not used"]
    from PIL import Image

    written = [json.loads(line) for line in open(f"{made.data.folder}/train.jsonl", encoding="utf-8")]
    assert ["image" in post for post in written] == [True, False]
    assert Image.open(f"{made.data.images}/{written[0]['image']}").size == (6, 4)


@pytest.mark.parametrize(
    ("data", "validation", "words"),
    [
        (table(), None, "there is no validation table"),
        ({"train": table(), "test": table()}, None, "there is no validation table"),
        ({"validation": table()}, None, "there is no train table"),
        ({"train": table(), "dev": table()}, table(), "data holds 'dev', and validation is given too"),
        ({"train": [{"text": "x"}], "valid": table()}, None, "train is list, not a datasets.Dataset"),
        (None, table(), "there is no train table"),
    ],
)
def test_what_is_no_pair_of_tables_is_one_line(recipe_file, tmp_path, data, validation, words):
    with pytest.raises(InputError, match=words):
        dpe_mner.train(recipe_file, output=tmp_path / "run", data=data, validation=validation)
    assert not (tmp_path / "run").exists()


def test_a_row_that_is_no_post_is_named(recipe_file, tmp_path):
    with pytest.raises(InputError, match="row 1 of the Table"):
        dpe_mner.train(
            recipe_file, output=tmp_path / "run", data=Table([row(POSTS[0]), {"a": 1}], NAMES), validation=table()
        )


def test_a_run_from_tables_is_whole_and_goes_on_with_its_own_posts_only(recipe_file, tmp_path):
    output = tmp_path / "run"
    given = {"train": table(), "validation": table()}
    metrics = dpe_mner.train(recipe_file, output=output, data=given, overrides=["training.epochs=1"])
    assert (metrics["train_posts"], sorted(metrics["labels"])) == (4, sorted(LABELS))
    written = yaml.safe_load((output / "recipe.yaml").read_text())["data"]
    assert (written["folder"], written["train"]) == (str(output / "tables"), "train.jsonl")
    assert dpe_mner.evaluate(table(), model=output).as_dict()["posts"] == 4
    before = (output / "tables" / "train.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds a run already"):
        dpe_mner.train(recipe_file, output=output, data={"train": table(POSTS[:2]), "validation": table()})
    with pytest.raises(InputError, match="begun with other posts"):
        dpe_mner.train(recipe_file, output=output, data={"train": table(POSTS[:2]), "validation": table()}, resume=True)
    assert (output / "tables" / "train.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_few_posts_are_learned(recipe_file, tmp_path):
    rates = ["training.learning_rate=3e-3", "training.encoder_learning_rate=3e-3", "settings.fusion.dropout=0.0"]
    metrics = dpe_mner.train(
        recipe_file,
        output=tmp_path / "run",
        data={"train": table(POSTS * 4), "validation": table()},
        overrides=["training.epochs=60", *rates],
    )
    assert metrics["f1"] > 80
