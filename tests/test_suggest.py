"""Which posts to label: what counts as uncertain, what is alike, the task file, and training on the answers."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import yaml
from conftest import FAST, POSTS, VALID, conll, jsonl
from helpers import assert_refused, run

from dpe_mner import Entity, Post, Prediction
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.suggest.choice import most_worth
from dpe_mner.suggest.uncertainty import Uncertain, together, uncertain, variants


def entity(word: int, label: str, score: float) -> Entity:
    return Entity(text="x", label=label, start=word, end=word + 1, word_start=word, word_end=word + 1, score=score)


def answer(*entities: Entity) -> Prediction:
    return Prediction(id="p", text="a b c", entities=list(entities), warnings=[])


def test_expected_errors_by_hand():
    post = Post(id="p", words=("a", "b", "c"))
    one = answer(entity(0, "PER", 0.9), entity(1, "LOC", 0.4))
    other = answer(entity(0, "PER", 0.7), entity(2, "ORG", 0.2))
    found = together(post, [one, other])
    # PER 0.8, LOC 0.2 (found once), ORG 0.1 (found once)
    assert found.expected_errors == pytest.approx(0.2 + 0.2 + 0.1)
    assert found.disagreement == pytest.approx(0.4)
    assert [(e.label, e.score) for e in found.prediction.entities] == [("PER", 0.8)]
    sure = together(post, [answer(entity(0, "PER", 1.0))] * 2)
    assert (sure.expected_errors, sure.disagreement) == (0.0, 0.0)


def test_the_better_of_two_overlapping_candidates_is_shown_and_both_count():
    post = Post(id="p", words=("a", "b", "c"))
    wide = Entity(text="a b", label="ORG", start=0, end=3, word_start=0, word_end=2, score=0.55)
    found = together(post, [answer(wide, entity(1, "PER", 0.95))])
    assert [e.label for e in found.prediction.entities] == ["PER"]
    assert found.expected_errors == pytest.approx(0.45 + 0.05)


def question(text: str, errors: float) -> Uncertain:
    words = tuple(text.split())
    return Uncertain(Post(id=text, words=words), answer(), errors, 0.0)


def test_the_most_uncertain_first_and_no_post_twice():
    stream = [
        question("kevin wins again", 0.9),
        question("kevin wins again", 0.9),  # sent twice
        question("a quiet day in paris", 0.6),
        question("kevin wins again today", 0.8),  # nearly the same
        question("nothing here at all", 0.0),
    ]
    chosen = [one.post.id for one in most_worth(stream, 3)]
    assert chosen[:2] == ["kevin wins again", "a quiet day in paris"]
    assert Counter(chosen)["kevin wins again"] == 1
    assert "nothing here at all" not in [one.post.id for one in most_worth(stream, 10)]
    assert most_worth([], 3) == []


def test_only_the_most_uncertain_are_held_in_memory():
    stream = (question(f"word{k} other{k}", k / 5000) for k in range(5000))
    assert [one.post.id.split()[0] for one in most_worth(stream, 2)] == ["word4999", "word4998"]


def test_answers_differ_in_noise_and_steps(build):
    model = build()
    options = variants(model, PredictionOptions(seed=7), answers=4)
    assert [o.seed for o in options] == [7, 8, 9, 10]
    assert [o.steps for o in options] == [3, 4, 3, 4]
    found = list(uncertain(model, POSTS, PredictionOptions(), answers=2))
    assert [one.post for one in found] == POSTS
    assert sum(one.expected_errors for one in found) > 0
    again = list(uncertain(model, POSTS, PredictionOptions(), answers=2))
    assert [one.expected_errors for one in again] == [one.expected_errors for one in found]


# --- the command, and the loop it begins


@pytest.fixture
def saved(build, tmp_path):
    build().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("tool", ["label-studio", pytest.param("doccano", marks=pytest.mark.slow)])
def test_from_posts_to_tasks_to_a_model_trained_on_the_answers(saved, encoders, write, tmp_path, tool):
    """The loop: suggest, correct in the tool, train on what it exports."""
    posts = write("posts.jsonl", jsonl([{"id": p.id, "text": " ".join(p.words)} for p in VALID]))
    tasks = tmp_path / "tasks.json"
    told = run("suggest", posts, "--count", 3, "--output", tasks, "--format", tool, "--model", saved, "--answers", 2)
    assert told.returncode == 0, told.stderr
    assert b"of 12 posts" in told.stderr
    gold = {" ".join(p.words): p for p in POSTS}
    text = tasks.read_text()
    rows = json.loads(text) if tool == "label-studio" else [json.loads(line) for line in text.splitlines()]
    assert 0 < len(rows) <= 3
    for row in rows:
        own = gold[row["data"]["text"] if tool == "label-studio" else row["text"]]
        correct(row, own, tool)
    done = write("done.json", json.dumps(rows) if tool == "label-studio" else jsonl(rows))
    write("valid.txt", conll(POSTS))
    values = {
        "encoder": encoders("bert-uncased"),
        "data": {"folder": str(tmp_path), "train": done.name, "train_format": tool},
        "settings": FAST,
        "training": {"epochs": 1, "batch_size": 2},
        "output": str(tmp_path / "run"),
    }
    recipe = write("recipe.yaml", yaml.safe_dump(values))
    trained = run("train", recipe)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train_posts"] == len(rows)


def correct(row: dict, post: Post, tool: str) -> None:
    """What a person does in the tool: put right what the model said."""
    starts = [0]
    for word in post.words:
        starts.append(starts[-1] + len(word) + 1)
    spans = [(starts[e.start], starts[e.end] - 1, e.label) for e in post.entities]
    if tool == "doccano":
        row["label"] = [list(span) for span in spans]
        return
    assert row["annotations"] == []  # the model's answers are a prediction, nobody's annotation
    (prediction,) = row["predictions"]
    assert all(0 <= one["score"] <= 1 for one in prediction["result"])
    values = [{"start": start, "end": end, "labels": [label]} for start, end, label in spans]
    names = {"from_name": "label", "to_name": "text", "type": "labels"}
    row["annotations"] = [{"result": [names | {"id": str(k), "value": v} for k, v in enumerate(values)]}]


def test_labelled_posts_are_not_suggested_again(saved, write, tmp_path):
    labelled = write("labelled.txt", conll([p for p in VALID if p.entities]))
    told = run("suggest", labelled, "--count", 2, "--output", tmp_path / "t.json", "--model", saved)
    assert_refused(told, "holds no post without labels")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--count", 0), "count"),
        (("--count", 2, "--format", "xml"), "label-studio, doccano, prodigy, jsonl"),
        (("--count", 2, "--model", "nowhere"), "nowhere"),
    ],
)
def test_wrong_calls_are_one_line(write, tmp_path, options, words):
    posts = write("posts.jsonl", jsonl([{"text": "Kevin in Paris"}]))
    assert_refused(run("suggest", posts, "--output", tmp_path / "t.json", *options), words)
    assert_refused(run("suggest", tmp_path / "no.jsonl", "--count", 2, "--output", tmp_path / "t.json"), "no.jsonl")


def test_an_unknown_format_of_a_training_file_is_one_line(encoders, write, tmp_path):
    write("train.json", "[]")
    write("valid.txt", conll(POSTS))
    data = {"folder": str(tmp_path), "train": "train.json", "train_format": "labelstudio2"}
    recipe = write("recipe.yaml", yaml.safe_dump({"encoder": encoders("bert-uncased"), "data": data}))
    assert_refused(run("train", recipe, "--output", tmp_path / "run"), "train_format 'labelstudio2': no such format")
