"""A student of several teachers: what they agree on, resuming, and teachers that do not fit."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from conftest import FAST, LABELS, POSTS, VALID, conll, jsonl, settings_with
from helpers import assert_refused, run
from hypothesis import given
from hypothesis import strategies as st

from dpe_mner import load
from dpe_mner.checkpoints.loading import load_checkpoint
from dpe_mner.model import DPEMNERModel
from dpe_mner.training import silver
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.silver import agreed, read_unlabelled, silver_posts
from dpe_mner.training.train import train

TEXTS = [f"Kevin Durant enters Oracle Arena {k}" for k in range(5)] + ["good morning", "", "Tim Cook opens Paris"]


@pytest.fixture
def teachers(tmp_path, encoders) -> list[str]:
    """Two random checkpoints that find much, and differ."""
    encoder, folders = encoders("bert-uncased"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = DPEMNERModel.from_encoder(encoder, labels=LABELS, settings=settings_with())
        folders.append(str(tmp_path / f"teacher-{seed}"))
        model.save_pretrained(folders[-1])
    return folders


@pytest.fixture
def student(tmp_path, encoders, write, teachers):
    """The recipe of a student; keys of the recipe may be replaced."""
    write("train.txt", conll(POSTS))
    write("valid.txt", conll(VALID))
    write("posts.txt", "\n".join(TEXTS) + "\n")

    def make(**changes):
        values = {
            "encoder": encoders("bert-uncased"),
            "data": {"folder": str(tmp_path), "labels": LABELS, "unlabelled": "posts.txt"},
            "settings": FAST,
            "training": {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3},
            "teachers": teachers[:1],
            "output": str(tmp_path / "student"),
        }
        return write("student.yaml", yaml.safe_dump(values | changes))

    return make


def label(recipe) -> silver.Silver:
    return silver_posts(load_recipe(recipe), LABELS, [], [], log=lambda _: None)


PER, ORG, LONG = (0, 5, "PER"), (0, 5, "ORG"), (0, 9, "PER")


@pytest.mark.parametrize(
    ("answers", "agreement", "expected"),
    [
        ([{PER}, {PER}, {PER}], 1.0, [PER]),
        ([{PER}, {PER}, set()], 1.0, None),
        ([{PER}, {PER}, set()], 0.6, [PER]),
        ([{PER}, set(), set()], 0.6, []),
        ([{PER}, set(), set()], 1.0, None),
        ([{PER}, {ORG}, {PER}], 0.6, [PER]),
        ([{PER}, {ORG}, {PER}], 1.0, None),
        ([set(), set()], 1.0, []),
    ],
)
def test_agreement(answers, agreement, expected):
    assert agreed(answers, agreement) == expected


spans = st.sets(st.sampled_from([PER, ORG, LONG, (6, 9, "LOC"), (7, 12, "PER")]), max_size=3)


@given(st.lists(spans, min_size=1, max_size=5), st.floats(0.51, 1.0))
def test_agreed_entities_never_overlap_and_full_agreement_is_kept(answers, agreement):
    found = agreed(answers, agreement)
    if found is not None:
        assert all(a[1] <= b[0] for a in found for b in found if a < b)
        for span in found:
            assert sum(span in answer for answer in answers) >= agreement * len(answers) - 1e-6


def test_one_teacher_is_repeated_by_silver_labels(student, teachers):
    found = label(student())
    teacher = load(teachers[0])
    assert found.read == 7  # the empty line is no post
    assert len(found.posts) == 7
    for post in found.posts:
        entities = teacher.predict(post.text)
        assert [(e.start, e.end, e.label) for e in post.entities] == [(e.start, e.end, e.label) for e in entities]


def test_two_teachers_give_what_both_find(student, teachers):
    found = {post.id: post for post in label(student(teachers=teachers)).posts}
    models = [load(name) for name in teachers]
    for number, text in enumerate(TEXTS, start=1):
        if text:
            one, other = ({(e.start, e.end, e.label) for e in model.predict(text)} for model in models)
            assert (str(number) in found) == (one == other)


def test_labelling_goes_on_where_it_was_cut_off(student, tmp_path, monkeypatch):
    recipe, path = student(), tmp_path / "student" / silver.SILVER
    monkeypatch.setattr(silver, "_CHUNK", 2)
    label(recipe)
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:10])  # torn in the middle of a line
    labelled = []
    inner = silver._lines
    monkeypatch.setattr(silver, "_lines", lambda posts, *rest: labelled.extend(posts) or inner(posts, *rest))
    label(recipe)
    assert path.read_text() == whole
    assert len(labelled) == 4  # the first three are not labelled again


def test_a_student_learns_from_gold_and_silver(student, tmp_path):
    lines: list[str] = []
    metrics = train(load_recipe(student(silver={"share": 0.5})), log=lines.append)
    assert metrics["silver"] == {"posts": 7, "read": 7, "teachers": [str(tmp_path / "teacher-1")]}
    assert any(line.startswith("1 teachers agree on 7 of 7 posts") for line in lines)
    assert load_checkpoint(DPEMNERModel, str(tmp_path / "student")).labels == LABELS


def test_a_run_cut_off_while_labelling_resumes(student, tmp_path):
    recipe = load_recipe(student())
    label(student())
    metrics = train(recipe, resume=True, log=lambda _: None)
    assert metrics["silver"]["posts"] == 7


def test_formats_of_unlabelled_posts(write):
    assert [p.text for p in read_unlabelled(str(write("a.txt", "one\n\n two \n")))] == ["one", "two"]
    assert [p.text for p in read_unlabelled(str(write("b.jsonl", jsonl([{"text": "x"}, {"text": "y"}]))), 1)] == ["x"]
    posts = read_unlabelled(str(write("c.txt", conll(POSTS))))
    assert [p.words for p in posts] == [p.words for p in POSTS]
    assert all(p.entities is None for p in posts)


def test_teachers_that_do_not_fit_are_one_line(student, tmp_path, encoders, teachers):
    model = DPEMNERModel.from_encoder(encoders("bert-uncased"), labels=["A", "B"], settings=settings_with())
    model.save_pretrained(tmp_path / "other")
    assert_refused(run("train", student(teachers=[str(tmp_path / "other")])), "other", "A, B", "PER, LOC, ORG, MISC")
    assert_refused(run("train", student(teachers=["nowhere"])), "nowhere")
    assert_refused(run("train", student(teachers=[])), "teachers and data.unlabelled go together")
    label(student())
    assert_refused(run("train", student(teachers=teachers), "--resume"), silver.SILVER, "other teachers")


def test_teachers_need_the_students_conventions(student, tmp_path):
    sources = [{"name": name, "train": "train.txt", "valid": "valid.txt"} for name in ("a", "b")]
    data = {"folder": str(tmp_path), "labels": LABELS, "unlabelled": "posts.txt", "sources": sources}
    assert_refused(run("train", student(data=data)), "no convention a, b", "the same sources")


def test_no_agreement_at_all_is_one_line(student, monkeypatch):
    monkeypatch.setattr(silver, "agreed", lambda *_: None)
    assert_refused(run("train", student()), "agree on no post")


def test_silver_lines_are_posts_in_order(student, tmp_path):
    label(student())
    lines = [json.loads(line) for line in (tmp_path / "student" / silver.SILVER).read_text().splitlines()]
    assert [line["id"] for line in lines] == ["1", "2", "3", "4", "5", "6", "8"]
