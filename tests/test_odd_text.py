"""Text that is not always text: what a post must not have costs that post at most, and offsets stay the user's."""

from __future__ import annotations

import json

import pytest
from helpers import lines_of, run

import dpe_mner
from dpe_mner import Post
from dpe_mner.data.jsonl import json_line, read_posts_jsonl, read_visual_text
from dpe_mner.training.folder import write_predictions
from dpe_mner.types import Prediction

ODD = {
    "first half": "\ud83d",
    "second half": "\udc00",
    "both halves apart": "\ud83d\ude00",
    "NUL": "\x00",
    "no character": "\ufffe",
    "last of all": "\U0010ffff",
    "unassigned": "\u0378",
    "private": "\ue000",
    "replacement": "\ufffd",
    "byte order mark": "\ufeff",
    "escape": "\x1b[31m",
    "separator": "\x1c",
    "line separator": "\u2028",
    "override": "\u202e",
    "selector": "\U000e01ef",
}


def joined(text: str) -> str:
    """Two halves side by side are one character in JSON, which has no other way to write it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@pytest.fixture(scope="module")
def light():
    return dpe_mner.load(backend="onnx")


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_odd_characters_keep_answers_and_offsets(build, light, kind, runtime):
    odd = ODD[kind]
    model = build() if runtime == "torch" else light
    text = f"{odd} Kevin Durant {odd} in Paris{odd}"
    posts = [Post(text=text, caption=f"a {odd} man", tags=[odd]), Post(words=[odd, "", "Paris", f"a{odd}"]), odd, text]
    for found, given in zip(model.predict(posts), (text, f"{odd}  Paris a{odd}", odd, text), strict=True):
        assert all(given[entity.start : entity.end] == entity.text for entity in found)
    if runtime == "onnx" and kind != "selector":  # which belongs to the letter before it
        assert "Kevin Durant" in {entity.text for entity in model.predict(text)}
    else:
        explained = model.predict(text, explain=True) if runtime == "torch" else None
        assert explained is None or json.loads(json_line(explained.as_dict(explain=True)))["text"] == joined(text)


@pytest.mark.parametrize("kind", ODD)
def test_a_line_of_json_gives_back_what_was_written(kind):
    line = json_line({"text": f"é{ODD[kind]}"})
    assert json.loads(line.encode("utf-8")) == {"text": joined(f"é{ODD[kind]}")}
    assert line.splitlines() == [line[:-1]]
    assert "é" in line


GOOD = '{"id": "good", "text": "Kevin Durant"}'
KEPT = {  # the line, and the id its prediction has
    "half a character": (r'{"id": "\ud800", "text": "a \udc00 b", "caption": "\ud800", "tags": ["\ud83d"]}', "\ud800"),
    "NUL": (r'{"id": "x", "text": "a\u0000b"}', "x"),
    "a long number beside": ('{"id": "x", "text": "a", "n": %s}' % ("9" * 5000), "x"),
    "a long number as id": ('{"id": %s, "text": "a"}' % ("9" * 5000), "9" * 5000),
    "a long negative number": ('{"id": -%s, "text": "a"}' % ("9" * 5000), "-" + "9" * 5000),
    "NaN beside": ('{"id": "x", "text": "a", "n": [NaN, Infinity, 1e999]}', "x"),
    "no id": ('{"id": null, "text": "a"}', "2"),
    "a picture of no name": (r'{"id": "x", "text": "a", "image": "\u0000\ud800.jpg"}', "x"),
    "a picture of a long name": ('{"id": "x", "text": "a", "image": "%s.jpg"}' % ("x" * 5000), "x"),
}
LOST = {
    "NaN as id": '{"id": NaN, "text": "a"}',
    "infinity as text": '{"id": 1, "text": Infinity}',
    "a long number as text": '{"id": 1, "text": %s}' % ("9" * 5000),
    "an object as id": '{"id": {"a": [1]}, "text": "a"}',
    "a truth as id": '{"id": true, "text": "a"}',
    "nested lists": '{"id": 1, "text": "a", "n": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "nested objects": '{"id": 1, "text": "a", "n": ' + '{"a":' * 10_000 + "1" + "}" * 10_001,
    "open lists": "[" * 100_000,
    "a long place": '{"id": 1, "text": "abc", "entities": [{"start": %s, "end": 2, "label": "X"}]}' % ("9" * 5000),
    "a place that is no number": '{"id": 1, "text": "abc", "entities": [{"start": NaN, "end": 2, "label": "X"}]}',
    "a long label": '{"id": 1, "text": "abc", "entities": [{"start": 9, "end": 2, "label": "%s"}]}' % ("x" * 9000),
}


@pytest.mark.parametrize("kind", [*KEPT, *LOST])
def test_one_odd_line_costs_itself_at_most(kind, write):
    line, identifier = KEPT.get(kind, (LOST.get(kind), None))
    problems = []
    read = list(read_posts_jsonl(write("posts.jsonl", f"{GOOD}\n{line}\n{GOOD}\n"), problems))
    assert [post.id for post in read] == ["good", *([identifier] if kind in KEPT else []), "good"]
    assert [problem.line for problem in problems] == ([] if kind in KEPT else [2])
    assert all(problem.loses_data and len(str(problem)) < 600 for problem in problems)


@pytest.mark.parametrize("kind", ["a long number beside", "NaN beside", "nested lists"])
def test_visual_text_loses_no_more(kind, write):
    line = KEPT.get(kind, (LOST.get(kind), None))[0].replace('"id"', '"image_id"').replace('"text"', '"caption"')
    problems = []
    good = '{"image_id": "good", "caption": "a man"}\n'
    found = read_visual_text(write("visual.jsonl", f"{line}\n{good}"), problems)
    assert set(found) == ({"x", "good"} if kind in KEPT else {"good"})
    assert [problem.line for problem in problems] == ([] if kind in KEPT else [1])


def test_commands_finish_a_file_of_odd_posts(write, saved_model, tmp_path):
    content = "".join(f"{line}\n" for line in (GOOD, *(line for line, _ in KEPT.values()), *LOST.values(), GOOD))
    path = write("posts.jsonl", content)
    result = run("predict", path, "--model", saved_model)
    found = lines_of(result.stdout)
    assert [row["id"] for row in found[1:-1]] == [
        identifier if kind != "no id" else "8" for kind, (_, identifier) in KEPT.items()
    ]
    assert result.returncode == 2
    errors = result.stderr.decode().splitlines()
    assert len(errors) == len(LOST) + 1
    assert f"{len(LOST)} lines could not be used; all others are done" in errors[-1]
    written = run("predict", path, "--model", saved_model, "--output", tmp_path / "out.jsonl", "--images", tmp_path)
    assert [row["id"] for row in lines_of((tmp_path / "out.jsonl").read_bytes())] == [row["id"] for row in found]
    assert "Traceback" not in written.stderr.decode()
    checked = run("check-data", path, "--images", tmp_path)
    assert (checked.returncode, b"Traceback" in checked.stderr) == (2, False), checked.stderr


def test_predictions_of_a_run_keep_half_characters(tmp_path):
    write_predictions([Prediction(id="\ud800", text="", entities=[])], tmp_path)
    assert lines_of((tmp_path / "predictions.jsonl").read_bytes())[0]["id"] == "\ud800"
