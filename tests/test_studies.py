"""The studies of accuracy in benchmarks/studies.py, on a tiny model: that each command runs, and what it compares."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import POSTS, conll
from typer.testing import CliRunner

import dpe_mner
from dpe_mner import LabelledSpan, Post
from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of

FILE = Path(__file__).parents[1] / "benchmarks" / "studies.py"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the studies are not part of an installed package")


@pytest.fixture(scope="module")
def studies():
    specification = importlib.util.spec_from_file_location("studies", FILE)
    module = importlib.util.module_from_spec(specification)
    sys.modules["studies"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["studies"]


@pytest.fixture
def call(studies, saved_model, write):
    data = write("posts.txt", conll(POSTS))
    visual = write("visual.jsonl", '{"image_id": "a", "caption": "a player walks in", "tags": []}\n')

    def invoke(*arguments) -> str:
        given = [arguments[0], str(data), "--visual-text", str(visual), "--model", saved_model, *arguments[1:]]
        threads = torch.get_num_threads()
        try:
            result = CliRunner().invoke(studies.app, given, catch_exceptions=False)
        finally:
            torch.set_num_threads(threads)
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def test_natural_text_keeps_its_entities(studies):
    words = ("#", "NBA", ":", '"', "Kawhi", "Leonard", '"', "wins", "in", "L.A.", "!")
    gold = ((1, 2, "ORG"), (4, 6, "PER"), (9, 10, "LOC"))
    post = Post(id="1", words=words, entities=tuple(LabelledSpan(start=f, end=t, label=c) for f, t, c in gold))
    made = studies.natural(post)
    assert made.text == '#NBA: "Kawhi Leonard" wins in L.A.!'
    found = {(made.text[start:end], label) for start, end, label in gold_characters(made, words_of(made))}
    assert found == {("NBA", "ORG"), ("Kawhi Leonard", "PER"), ("L.A.", "LOC")}


def test_steps_and_raw_text_and_matrix_work_print_figures(call):
    rows = re.findall(r"^\| (\d) \| [\d.]+ \| [\d.]+ \|$", call("steps", "--seeds", "1"), re.MULTILINE)
    assert rows == ["1", "2", "3", "5"]
    assert re.search(r"given words F1 [\d.]+, raw text F1 [\d.]+, difference [+-][\d.]+", call("raw-text"))
    (times,) = re.findall(r"([\d.]+) times the encoder's matrix work", call("matrix-work"))
    assert float(times) > 1


def test_choices_are_applied_one_at_a_time(studies, call, saved_model):
    printed = call("choices", "--threads", "1")
    assert all(f"\n{choice.name} " in printed for choice in studies.CHOICES)
    model = dpe_mner.load(saved_model)
    usual = model.settings.model_dump()
    for choice in studies.CHOICES[::-1]:
        choice.apply(model, usual)
    assert studies.CHOICES[0].name == "default"
    assert model.settings.model_dump() == usual  # nothing of the choices before is left
    studies.Choice("x", steps=2, spans=9, caption_layers=1).apply(model, usual)
    assert (model.settings.reasoning.steps, model.settings.reasoning.spans) == (2, 9)
    assert model.settings.encoder.caption_layers == 1


def test_unlabelled_posts_are_refused(studies, saved_model, write):
    data = write("posts.jsonl", '{"id": "1", "text": "good morning"}\n')
    with pytest.raises(dpe_mner.InputError, match="no labels"):
        CliRunner().invoke(studies.app, ["steps", str(data), "--model", saved_model], catch_exceptions=False)
