"""What Python callers hand in: a right answer, or one line with the call to make."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections import UserDict, deque
from types import SimpleNamespace

import numpy as np
import pytest

import dpe_mner
from dpe_mner import InputError, LabelledSpan, Post, evaluate, load, train
from dpe_mner.data.inputs import as_posts
from dpe_mner.pipeline import PredictionOptions

TEXTS = ["Kevin Durant in Paris", "Tim Cook"]


class Column:
    """What pandas' Series and polars' are to a caller who does not know them: no Sequence, in order, of a length."""

    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)


@pytest.mark.parametrize(
    "given",
    [
        TEXTS,
        tuple(TEXTS),
        deque(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        Column(TEXTS),
        dict.fromkeys(TEXTS).keys(),
        dict(enumerate(TEXTS)).values(),
        (text for text in TEXTS),
        map(str, TEXTS),
        [np.str_(text) for text in TEXTS],
        [Post(text=text) for text in TEXTS],
    ],
)
def test_several_texts_in_any_container(given):
    posts, single = as_posts(given)
    assert ([post.text for post in posts], single) == (TEXTS, False)


@pytest.mark.parametrize(
    "words",
    [
        ["Kevin", "wins"],
        ("Kevin", "wins"),
        np.array(["Kevin", "wins"]),
        Column(["Kevin", "wins"]),
        deque(["Kevin", "wins"]),
    ],
)
def test_words_in_any_container(words):
    (post,), single = as_posts([words])
    assert (list(post.words), single) == (["Kevin", "wins"], False)
    assert list(Post(words=words).words) == ["Kevin", "wins"]
    assert list(Post(text="a", tags=words).tags) == ["Kevin", "wins"]


def test_rows_of_an_array_are_posts_given_as_words():
    posts, _ = as_posts(np.array([["Kevin", "wins"], ["Tim", "Cook"]]))
    assert [list(post.words) for post in posts] == [["Kevin", "wins"], ["Tim", "Cook"]]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("person,ball", ["person", "ball"]),
        ("person, tennis ball ,", ["person", "tennis ball"]),
        ("person", ["person"]),
        ("", []),
        (["person", "ball"], ["person", "ball"]),
        ((tag for tag in ("person", "ball")), ["person", "ball"]),
        (np.array(["person"]), ["person"]),
        ([], []),
    ],
)
def test_tags_as_a_list_or_as_the_command_line_has_them(tags, expected):
    given = list(tags) if not isinstance(tags, str) else tags
    (post,), single = as_posts("a text", tags=given)
    assert (list(post.tags), single) == (expected, True)
    assert list(Post(text="a", tags=given).tags) == expected


def test_the_answer_with_tags_in_a_string_is_that_with_a_list(build):
    model = build()
    text = "Kevin Durant in Paris"
    found = model.predict(text, tags="person,ball", explain=True)
    assert found == model.predict(text, tags=["person", "ball"], explain=True)
    assert found.representations["y_ft"]


WRONG = {
    "None": (None, "predict"),
    "a number": (3, "predict"),
    "bytes": (b"Kevin", r"decode\('utf-8'\)"),
    "bytearray": (bytearray(b"Kevin"), "decode"),
    "a dict": ({"text": "Kevin"}, r"predict\(Post\(text="),
    "a mapping": (UserDict(text="Kevin"), r"predict\(Post\(text="),
    "a set": ({"Kevin"}, r"predict\(list"),
    "a table": (SimpleNamespace(columns=["text"]), r"predict\(list\(table\['text'\]\)\)"),
    "an arrow table": (SimpleNamespace(column_names=["text"]), r"table\['text'\]"),
    "an array of no dimension": (np.array("Kevin"), r"predict\(str"),
    "a module": (os.path, "predict"),
    "dicts": ([{"text": "Kevin"}], r"Post\(text=row\['text'\]\)"),
    "numbers": ([1, 2], "predict"),
    "numbers of an array": (np.array([1.0, 2.0]), "predict"),
    "what is missing": (["Kevin", None], "leave out what is missing"),
    "a missing value": (["Kevin", float("nan")], "leave out what is missing"),
    "bytes among texts": ([b"Kevin"], "decode"),
    "pairs": ([("Kevin", 1)], r"Post\(words=\['Kevin'"),
    "pieces of words": ([[["Kevin"], ["wins"]]], r"Post\(words=\['Kevin'"),
    "sets": ([{"Kevin"}], "predict"),
    "arrays of no dimension": ([np.array("Kevin")], "Post|predict"),
    "a class": (str, "predict"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_post_is_one_line_with_the_call(kind):
    given, call = WRONG[kind]
    with pytest.raises(InputError, match=call) as caught:
        list(as_posts(given)[0])
    assert "a post is" in str(caught.value) or "table" in str(caught.value) or "order" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_data_frame_is_refused_and_its_columns_are_not():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS})
    with pytest.raises(InputError, match="a DataFrame is a table"):
        as_posts(frame)
    assert [post.text for post in as_posts(frame["text"])[0]] == TEXTS
    with pytest.raises(InputError, match="a post is"):
        as_posts(pandas.Series(["Kevin", None]))


SPAN = LabelledSpan(start=0, end=1, label="PER")


@pytest.mark.parametrize(
    ("parts", "call"),
    [
        ({}, "either text or words"),
        ({"text": "a", "words": ["a"]}, "either text or words"),
        ({"text": 3}, r"text is one string, not int: Post\(text="),
        ({"text": b"a"}, "text is one string"),
        ({"text": ["Kevin", "wins"]}, "text is one string, not list"),
        ({"words": "Kevin wins"}, r"Post\(words=\['Kevin', 'wins'\]\)"),
        ({"words": b"Kevin"}, r"Post\(words="),
        ({"words": {"Kevin": 1}}, r"Post\(words="),
        ({"words": {"Kevin"}}, r"Post\(words="),
        ({"words": ["Kevin", 3]}, "holds int"),
        ({"words": 3}, r"Post\(words="),
        ({"words": np.array("Kevin")}, r"Post\(words="),
        ({"text": "a", "tags": 3}, "tags is a list of strings, not int"),
        ({"text": "a", "tags": {"person": 0.9}}, "tags=.'person', 'ball'"),
        ({"text": "a", "tags": [("person", 0.9)]}, "holds tuple"),
        ({"text": "a", "tags": b"person"}, "tags is a list"),
        ({"text": "a", "caption": ["a", "b"]}, "caption is one string, not list"),
        ({"text": "a", "caption": float("nan")}, "caption is one string, not float"),
        ({"text": "a", "id": float("nan")}, "id is a name, not float"),
        ({"text": "a", "id": ["x"]}, "id is a name, not list"),
        ({"text": "a", "entities": [(0, 1, "PER")]}, r"LabelledSpan\(start=0, end=5, label='PER'\)"),
        ({"text": "a", "entities": [{"start": 0, "end": 1, "label": "PER"}]}, "holds dict"),
        ({"text": "a", "entities": SPAN}, "entities is a list"),
        ({"text": "a", "entities": "PER"}, "entities is a list"),
    ],
)
def test_a_post_of_the_wrong_parts_is_one_line_with_the_call(parts, call):
    with pytest.raises(InputError, match=call) as caught:
        Post(**parts)
    assert len(str(caught.value).splitlines()) == 1


def test_parts_of_a_post_are_kept_as_they_are_given():
    words, tags, entities = ["Kevin"], ("ball",), [SPAN]
    post = Post(id=7, words=words, tags=tags, entities=entities)
    assert (post.id, post.words, post.tags, post.entities) == ("7", words, tags, entities)
    assert Post(text="a", id=None).id == ""
    assert Post(text="a", entities=iter([SPAN])).entities == (SPAN,)


@pytest.mark.parametrize("name", ["steps", "spans", "seed", "batch_size"])
@pytest.mark.parametrize("value", ["3", 3.0, True, [3], b"3"])
def test_numbers_of_the_wrong_kind_are_one_line_with_the_call(name, value):
    with pytest.raises(InputError, match=rf"{name} must be a whole number, got .*; write {name}="):
        PredictionOptions(**{name: value})


def test_whole_numbers_of_numpy_are_numbers():
    options = PredictionOptions(steps=np.int64(3), seed=np.uint8(1), batch_size=np.int32(2))
    assert (options.steps, options.seed, options.batch_size) == (3, 1, 2)
    assert type(options.steps) is int


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
@pytest.mark.parametrize("name", [3, "", b"x", ["a"]])
def test_a_model_of_no_name_is_one_line(runtime, name):
    with pytest.raises(InputError, match="a checkpoint is a folder or a hub id"):
        load(name, backend=runtime)


def test_what_evaluate_and_train_do_not_read_is_one_line():
    with pytest.raises(InputError, match=r"write evaluate\('valid.txt'\)"):
        evaluate([Post(text="a")])
    with pytest.raises(InputError, match=r"write train\('recipe.yaml'\)"):
        train({"encoder": "x"})
    with pytest.raises(InputError, match="overrides="):
        train("recipe.yaml", overrides="training.epochs=3")


FORKED = """
import multiprocessing, sys
import dpe_mner
model = dpe_mner.load(sys.argv[1], backend=sys.argv[2])
if sys.argv[2] == "torch":
    import torch
    torch.set_num_threads(2)  # a pool of threads, which the child does not have
texts = ["Kevin Durant enters Oracle Arena"] * 32
answers = model.predict(texts)
def work(queue):
    queue.put(model.predict(texts) == answers)
context = multiprocessing.get_context("fork")
queue = context.Queue()
worker = context.Process(target=work, args=(queue,))
worker.start()
worker.join(60)
hanging = worker.is_alive()
worker.kill()
assert not hanging, "the worker hangs"
assert queue.get(timeout=5)
assert model.predict(texts) == answers
print("answered")
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_worker_made_by_fork_answers(runtime):
    from dpe_mner.checkpoints.hub import bundled_folder

    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    shown = subprocess.run(
        [sys.executable, "-c", FORKED, str(bundled_folder()), runtime],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )
    assert shown.stdout.strip() == "answered", shown.stderr


def test_the_names_of_the_package_are_at_hand():
    assert dpe_mner.LabelledSpan is LabelledSpan
