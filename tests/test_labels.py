"""Labels renamed and left out, the same in training, scoring and checking."""

from __future__ import annotations

import json

import pytest
from conftest import POSTS, conll
from helpers import assert_refused, run

from dpe_mner import evaluate
from dpe_mner.data.labels import LabelRules, parse_label_map
from dpe_mner.errors import InputError
from dpe_mner.types import LabelledSpan, Post

DATA = conll(POSTS)


def labels_after(rules, *labels):
    spans = tuple(LabelledSpan(start=k, end=k + 1, label=label) for k, label in enumerate(labels))
    return [e.label for e in rules(Post(words=("x",) * len(labels), entities=spans)).entities]


@pytest.mark.parametrize(
    ("renamed", "ignored", "expected"),
    [
        ({}, (), ["A", "B", "C"]),
        ({"A": "X"}, (), ["X", "B", "C"]),
        ({"A": "B", "B": "A"}, (), ["B", "A", "C"]),  # each label once: an exchange, no chain
        ({}, ("A",), ["B", "C"]),
        ({"A": "X", "B": "X"}, ("X",), ["C"]),  # by the new name
        ({"A": "X"}, ("A",), ["B", "C"]),  # by the old one
        ({}, ("A", "B", "C"), []),
    ],
)
def test_labels_are_renamed_once_and_left_out_by_either_name(renamed, ignored, expected):
    assert labels_after(LabelRules(renamed, ignored), "A", "B", "C") == expected


def test_unlabelled_posts_stay_unlabelled():
    post = Post(text="x")
    assert LabelRules({"A": "B"}, ("C",))(post) is post


def test_rules_that_no_label_met_are_told():
    rules = LabelRules({"OTHRE": "MISC", "PER": "PERSON"}, ("LOK", "PERSON"))
    labels_after(rules, "OTHER", "PER", "LOC")
    first, second = rules.unused()
    assert "OTHRE" in first
    assert "did you mean 'OTHER'" in first
    assert "LOK" in second


def test_pairs_are_checked():
    assert parse_label_map(["A=B", "C=D=E", "A=B"]) == {"A": "B", "C": "D=E"}
    for wrong in (["A"], ["=B"], ["A="], ["A=B", "A=C"]):
        with pytest.raises(InputError, match="--label-map"):
            parse_label_map(wrong)


def test_evaluate_leaves_labels_out_of_gold_and_answers(saved_model, write, tmp_path):
    path, out = write("d.txt", DATA), tmp_path / "s.json"
    model = ["--model", saved_model]
    everything = evaluate(path, model=saved_model)
    result = run("evaluate", path, *model, "--ignore-label", "PER", "--ignore-label", "LOC", "--json", out)
    assert result.returncode == 0, result.stderr
    scores = json.loads(out.read_text())
    assert scores["entities"] == sum(e.label not in {"PER", "LOC"} for p in POSTS for e in p.entities)
    assert set(scores["per_type"]) == set(everything.per_type) - {"PER", "LOC"}
    for label, row in scores["per_type"].items():  # the others are as ever: nothing found became spurious
        assert row["f1"] == everything.per_type[label].f1
    python = evaluate(path, model=saved_model, ignore_labels=["PER", "LOC"])
    assert python.overall.f1 == scores["f1"]
    both = run(
        "evaluate", write("e.txt", DATA.replace("MISC", "OTHER").replace("-LOC", "-XYZ")), *model,
        "--label-map", "OTHER=MISC", "--ignore-label", "XYZ", "--ignore-label", "ABC",
    )  # fmt: skip
    assert both.returncode == 0, both.stderr
    assert b"--ignore-label ABC: no entity has it" in both.stderr


def test_check_data_looks_at_the_labels_as_they_will_be(write):
    path = write("d.txt", DATA.replace("MISC", "OTHER"))
    shown = run("check-data", path, "--label-map", "OTHER=MISC", "--ignore-label", "PER", "--ignore-label", "X")
    assert shown.returncode == 0
    assert b"(LOC, MISC, ORG)" in shown.stdout
    assert b"--ignore-label X: no entity has it" in shown.stderr
    assert_refused(run("check-data", path, "--label-map", "OTHER"), "OLD=NEW")


def test_train_takes_the_same_flags(recipe_file, tmp_path):
    folder = tmp_path / "run"
    flags = ["--label-map", "MISC=LOC", "--ignore-label", "PER", "--label-map", "PERS=X"]
    result = run("train", recipe_file, "--output", folder, "--set", "training.epochs=1", *flags)
    assert result.returncode == 0, result.stderr
    assert json.loads((folder / "metrics.json").read_text())["labels"] == ["LOC", "ORG"]
    assert result.stderr.count(b"--label-map PERS=X: no entity has the label 'PERS'") == 1
    assert_refused(run("train", recipe_file, "--label-map", "A"), "OLD=NEW")
