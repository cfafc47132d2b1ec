"""Predictions to other tools and back: with their scores where there is a place for them, and never as gold."""

from __future__ import annotations

import json

import pytest
from conftest import jsonl
from found import as_row, expected, predictions, renamed, there_and_back, write_found
from helpers import assert_refused, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.entities import make_entity
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.predicted import PredictedSpan, predicted_post
from dpe_mner.formats.registry import FORMATS, convert
from dpe_mner.types import LabelledSpan, Post, Prediction

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WITH_SCORES = ["prodigy", "label-studio", "spacy"]


def found_in(post: Post, *spans, **more) -> tuple[Post, Prediction]:
    words = words_of(post)
    return post, Prediction(post.id, words.text, [make_entity(words, *span) for span in spans], **more)


TIM = found_in(Post(id="a", text="Tim Cook is in Paris", caption="a man"), (0, 1, "PER", 0.9), (4, 4, "LOC", 0.25))
WORDS = found_in(Post(id="b", words=("Tim", "Cook's", "dog")), (0, 1, "PER", 0.5))
NONE = found_in(Post(id="c", text="nothing here"))


@pytest.mark.parametrize("name", WITH_SCORES)
@given(found=st.lists(predictions(), min_size=1, max_size=3))
@QUICK
def test_what_was_found_comes_back_with_its_scores(tmp_path_factory, name, found):
    if name == "spacy":
        pytest.importorskip("spacy", reason="spaCy is not installed")
    back, done = there_and_back(tmp_path_factory.mktemp("found"), found, name)
    assert back == [expected(*each) for each in found]
    assert not done.not_written["scores"]


@given(found=st.lists(predictions(grounded=True), min_size=1, max_size=3))
@QUICK
def test_what_predict_writes_is_read_as_it_is(tmp_path_factory, found):
    back, done = there_and_back(tmp_path_factory.mktemp("found"), found, "predictions")
    assert back == [expected(*each) for each in found]
    assert not done.not_written["parts of pictures that entities looked at"]


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if not each.scores])
def test_scores_without_a_place_are_counted(name, tmp_path):
    posts, made = write_found(tmp_path, [TIM, WORDS, NONE])
    done = convert(made, tmp_path / "o", read_as="predictions", write_as=name, options=FormatOptions(posts=str(posts)))
    assert (done.posts, done.problems, done.not_written["scores"]) == (3, [], 3)


def test_posts_given_as_words_keep_their_words(tmp_path):
    posts, made = write_found(tmp_path, [TIM, WORDS])
    options = FormatOptions(posts=str(posts))
    convert(made, tmp_path / "o.txt", read_as="predictions", write_as="conll", options=options)
    assert "Tim\tB-PER\nCook's\tI-PER\ndog\tO" in (tmp_path / "o.txt").read_text()
    convert(made, tmp_path / "o.jsonl", read_as="predictions", write_as="jsonl", options=options)
    text, words = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert words["entities"] == [{"start": 0, "end": 2, "label": "PER", "score": 0.5}]
    assert (text["caption"], text["entities"][1]) == ("a man", {"start": 15, "end": 20, "label": "LOC", "score": 0.25})
    assert [len(post.entities) for post in load_dataset(tmp_path / "o.jsonl").posts] == [2, 1]


def test_other_tools_see_a_model_and_no_person(tmp_path):
    posts, made = write_found(tmp_path, [TIM, NONE])
    options = FormatOptions(posts=str(posts))
    for name in ("label-studio", "prodigy", "brat"):
        convert(made, tmp_path / name, read_as="predictions", write_as=name, options=options)
    first, second = json.loads((tmp_path / "label-studio").read_text())
    assert (first["annotations"], second["annotations"]) == ([], [])
    (said,) = first["predictions"]
    assert (said["score"], [result["score"] for result in said["result"]]) == (0.25, [0.9, 0.25])
    assert second["predictions"] == [{"model_version": "dpe-mner", "result": []}]
    task, _ = map(json.loads, (tmp_path / "prodigy").read_text().splitlines())
    assert "answer" not in task
    assert (task["meta"]["score"], task["spans"][0]["score"]) == (0.25, 0.9)
    notes = [line for line in (tmp_path / "brat" / "a.ann").read_text().splitlines() if line.startswith("#")]
    assert notes == ["#1\tAnnotatorNotes T1\tscore 0.9", "#2\tAnnotatorNotes T2\tscore 0.25"]
    back = tmp_path / "back.jsonl"
    done = convert(tmp_path / "label-studio", back, read_as="label-studio", write_as="jsonl")
    assert [post.entities for post in load_dataset(back).posts] == [None, None]
    assert done.not_read["predictions of a model"] == 2


def test_the_newest_prediction_of_label_studio_is_read(tmp_path, write):
    def said(*scores):
        value = {"start": 0, "end": 5, "text": "Paris", "labels": ["LOC"]}
        return {"result": [{"type": "labels", "value": value, "score": score} for score in scores]}

    tasks = [
        {"data": {"id": "x", "text": "Paris is"}, "annotations": [said()], "predictions": [said(0.1), said(0.7)]},
        {"data": {"id": "y", "text": "Paris is"}, "annotations": [], "predictions": [said(None, 2, 0.5)]},
    ]
    back = tmp_path / "back.jsonl"
    options = FormatOptions(predicted=True)
    path = write("t.json", json.dumps(tasks))
    done = convert(path, back, read_as="label-studio", write_as="predictions", options=options)
    first, second = map(json.loads, back.read_text().splitlines())
    assert ([e["score"] for e in first["entities"]], [e["score"] for e in second["entities"]]) == ([0.7], [0.5])
    assert (done.not_read["earlier predictions of a task"], done.not_read["annotations"]) == (1, 1)
    assert [problem.kind for problem in done.problems] == ["bad-entity"] * 2


def test_a_span_a_person_accepted_is_no_prediction(tmp_path, write):
    span = {"start": 0, "end": 5, "label": "LOC", "score": 0.5}
    path = write("p.jsonl", jsonl([{"text": "Paris is", "spans": [span], "answer": "accept"}]))
    with pytest.raises(InputError, match=r"LOC 0-5 has no score.*--to jsonl"):
        convert(path, tmp_path / "o", read_as="prodigy", write_as="predictions")


@pytest.mark.parametrize("order", [[0, 1, 2], [2], [2, 0], [1, 2, 0]])
def test_predictions_find_their_posts(order, tmp_path, write):
    all_of_them = [TIM, WORDS, NONE]
    posts, _ = write_found(tmp_path, all_of_them)
    made = write("some.jsonl", jsonl([all_of_them[k][1].as_dict() for k in order]))
    options = FormatOptions(posts=str(posts))
    done = convert(made, tmp_path / "o.jsonl", read_as="predictions", write_as="jsonl", options=options)
    assert done.problems == []
    assert [post.id for post in load_dataset(tmp_path / "o.jsonl").posts] == ["abc"[k] for k in order]


def test_posts_of_one_id_are_taken_in_order(tmp_path):
    same = renamed([TIM, NONE, TIM], ["x"] * 3)
    back, _ = there_and_back(tmp_path, same, "predictions")
    assert back == [expected(*each) for each in same]


def broken(**changed):
    entity = TIM[1].entities[0].as_dict() | changed
    return {"id": "a", "entities": [{key: value for key, value in entity.items() if value is not ...}], "warnings": []}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (broken(score=1.5), "'score' is not in"),
        (broken(score=True), "'score' is not in"),
        (broken(score=...), "'score' is not in"),
        (broken(end=99), "not a part of the text"),
        (broken(text="Tom Cook"), "the file says 'Tom Cook'"),
        (broken(label=""), "its label is ''"),
        ({"id": "a"}, "no 'entities'"),
        ({"id": "q", "entities": []}, "no post 'q' in"),
        (broken() | {"grounding": [{"entity": 0, "source": "region", "name": "x", "weight": 0.5, "box": [0, 0, 2, 1]}]},
         "no box in the picture"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_the_rest_is_written(row, words, tmp_path, write):
    posts = write("posts.jsonl", jsonl([as_row(TIM[0]), as_row(NONE[0])]))
    made = write("found.jsonl", jsonl([row, NONE[1].as_dict()]))
    out = tmp_path / "o.jsonl"
    arguments = ("--from", "predictions", "--posts", posts, "--to", "jsonl", "--output", out)
    assert_refused(run("convert", made, *arguments), f"{made}:1:", words)
    assert load_dataset(out).posts[-1].id == "c"


def test_words_that_are_others_now_are_named(tmp_path, write):
    posts = write("posts.jsonl", jsonl([{"id": "b", "words": ["Tim Cook's", "dog"]}]))
    made = write("found.jsonl", jsonl([WORDS[1].as_dict()]))
    options = FormatOptions(posts=str(posts))
    done = convert(made, tmp_path / "o", read_as="predictions", write_as="jsonl", options=options)
    assert "words 0-2 are others" in str(done.problems[0])


def test_explained_predictions_have_their_text(tmp_path, write):
    made = write("found.jsonl", jsonl([TIM[1].as_dict(explain=True)]))
    convert(made, tmp_path / "o.jsonl", read_as="predictions", write_as="doccano")
    assert json.loads((tmp_path / "o.jsonl").read_text())["label"] == [[0, 8, "PER"], [15, 20, "LOC"]]


def test_predictions_in_python_are_posts_too():
    made = predicted_post(*reversed(WORDS))
    assert made.words == ("Tim", "Cook's", "dog")
    assert made.entities == (PredictedSpan(start=0, end=2, label="PER", score=0.5),)
    assert predicted_post(TIM[1]).text == TIM[0].text
    assert made.entities[0] != LabelledSpan(start=0, end=2, label="PER")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "predictions", "--to", "doccano"], ["found.jsonl:1:", "--posts posts.jsonl"]),
        (["--from", "displacy", "--to", "jsonl"], ["nothing reads it"]),
        (["--from", "jsonl", "--to", "doccano", "--posts", "x"], ["--posts goes with --from predictions"]),
        (["--from", "jsonl", "--to", "doccano", "--predicted"], ["--predicted goes with --from label-studio"]),
        (["--from", "jsonl", "--to", "doccano", "--base", "https://x/"], ["--base goes with --to turtle"]),
        (["--from", "jsonl", "--to", "turtle", "--class-iri", "PER"], ["--class-iri 'PER'", "LABEL=IRI"]),
        (["--from", "predictions", "--to", "doccano", "--posts", "no.jsonl"], ["no.jsonl"]),
    ],
)
def test_wrong_usage(arguments, words, tmp_path, write):
    made = write("found.jsonl", jsonl([TIM[1].as_dict()]))
    assert_refused(run("convert", made, *arguments, "--output", tmp_path / "o"), *words)
    assert not (tmp_path / "o").exists()
