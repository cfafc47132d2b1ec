"""The model that comes with the package, and the real posts where they are at hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import dpe_mner
from dpe_mner.checkpoints.hub import bundled_folder
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.demo import demo_posts
from dpe_mner.errors import InputError
from dpe_mner.evaluation.answers import answer_posts
from dpe_mner.pipeline import PredictionOptions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the Twitter corpora are not beside this checkout")


@pytest.fixture(scope="module")
def model():
    try:
        bundled_folder()
    except InputError as error:
        pytest.skip(str(error))
    return dpe_mner.load()


@pytest.fixture(scope="module")
def validation():
    folder = SHARED / "twitter2017"
    return load_dataset(folder / "valid.txt", visual_text=folder / "visual_text_full.jsonl").posts


@pytest.fixture(scope="module")
def answers(model, validation):
    return answer_posts(model, validation, PredictionOptions(batch_size=64))


def test_it_is_small_safe_and_whole(model):
    folder = bundled_folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 80_000_000
    assert (folder / "README.md").is_file()
    assert model.config.label_names == ["PER", "LOC", "ORG", "MISC"]
    assert 0 < model.settings.decision.threshold < 1


def test_it_finds_what_everyone_would_find(model):
    found = {(e.text, e.label) for e in model.predict("Kevin Durant enters Oracle Arena wearing a jacket")}
    assert ("Kevin Durant", "PER") in found
    assert ("Oracle Arena", "LOC") in found
    assert model.predict("Good morning everyone, coffee first and then the world") == []


def test_demo_posts_are_enough_and_labelled_by_the_model(model):
    posts = demo_posts()
    assert len(posts) >= 8
    assert sum(bool(entities) for entities in model.predict(posts)) >= 8


@needs_shared
def test_validation_f1_is_what_the_readme_says(answers):
    report = answers.report
    assert report.overall.support == 1324
    assert report.overall.f1 == pytest.approx(85.27, abs=0.005)  # rounded as printed; one entity more or less is 0.03
    sources = json.loads((bundled_folder() / "metrics.json").read_text(encoding="utf-8"))["sources"]
    written = {source["name"]: source["validation"]["f1"] for source in sources}["twitter2017"]
    assert written == pytest.approx(85.27, abs=0.005)  # training counts with scores that are not rounded


@needs_shared
def test_the_entities_of_the_validation_posts_are_the_ones_it_always_had(answers):
    """A change of the code must not change an answer; a new bundled model comes with a new hash."""
    found = [[(e.start, e.end, e.label) for e in prediction.entities] for prediction in answers.predictions]
    assert sum(map(len, found)) == 1202
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()
    assert digest == "24a406eef5a3d36ff57a7c67cb391d7b865f461c40ba13543c91bdd61516fa51"


@pytest.mark.slow  # the same on tiny models is in test_predictor
@needs_shared
def test_real_posts_get_the_same_answer_alone_in_any_batch_and_in_any_order(model, validation):
    posts = validation[:200]
    together = model.predict(posts, batch_size=64)
    assert list(reversed(model.predict(posts[::-1], batch_size=17))) == together
    assert [model.predict(post) for post in posts[:40]] == together[:40]


@needs_shared
@pytest.mark.parametrize(
    ("name", "posts", "entities", "orphans"),
    [
        ("twitter2015/train.txt", 4000, 6352, 186),
        ("twitter2015/valid.txt", 1000, 1594, 53),
        ("twitter2017/train.txt", 3373, 6049, 0),
        ("twitter2017/valid.txt", 723, 1324, 0),
    ],
)
def test_the_corpora_are_read_whole(name, posts, entities, orphans):
    data = load_dataset(SHARED / name)
    assert len(data.posts) == posts
    assert sum(len(post.entities) for post in data.posts) == entities
    assert sum(problem.kind == "orphan-inside" for problem in data.problems) == orphans
    assert {problem.kind for problem in data.problems} <= {"orphan-inside"}
