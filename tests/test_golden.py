"""Checkpoints of every released version load, and answer what they answered then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden.make import POSTS, answer

import dpe_mner
from dpe_mner.checkpoints.loading import load_checkpoint
from dpe_mner.model import DPEMNERModel

GOLDEN = Path(__file__).resolve().parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if (path / "config.json").is_file())
TOLERANCE = 1e-4  # of scores


def without_scores(row):
    """Entities and candidates of an answer, and their scores apart."""
    listed = [row["entities"], *row["steps"]]
    places = [[{k: v for k, v in entity.items() if k != "score"} for entity in entities] for entities in listed]
    return places, [[entity["score"] for entity in entities] for entities in listed]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_checkpoint_of_a_released_version_answers_as_it_did(version):
    folder = GOLDEN / version
    assert json.loads((folder / "config.json").read_text())["package_version"] == version
    model = load_checkpoint(DPEMNERModel, str(folder))
    for post, wanted in zip(POSTS, json.loads((folder / "answers.json").read_text()), strict=False):
        assert post.id == wanted["id"]
        places, scores = without_scores(answer(model.predict(post, explain=True)))
        wanted_places, wanted_scores = without_scores(wanted)
        assert places == wanted_places
        for found, expected in zip(scores, wanted_scores, strict=True):
            assert found == pytest.approx(expected, abs=TOLERANCE, rel=0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_checkpoint_is_small_and_says_something(version):
    folder = GOLDEN / version
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000
    answers = json.loads((folder / "answers.json").read_text())
    assert len(answers) >= 4
    assert all(row["entities"] and row["steps"] for row in answers)


def test_this_version_has_one():
    assert dpe_mner.__version__ in VERSIONS, "run python tests/golden/make.py"
