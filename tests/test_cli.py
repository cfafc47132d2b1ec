"""The command line end to end on a tiny model: outputs, exit statuses, one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import FAST, POSTS, conll, jsonl
from helpers import assert_refused, lines_of, run
from yaml import safe_dump

KEYS = {"text", "label", "start", "end", "word_start", "word_end", "score"}


def test_the_installed_command_is_a_process_of_its_own():
    command = [sys.executable, "-m", "dpe_mner"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.startswith("dpe-mner ")
    refused = subprocess.run([*command, "predict", "missing.jsonl"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "missing.jsonl" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_one_post_from_flags(saved_model):
    result = run(
        "predict", "--text", "Kevin Durant enters", "--caption", "a player", "--tags", "a, b", "--model", saved_model
    )
    assert result.returncode == 0
    (row,) = lines_of(result.stdout)
    assert set(row) == {"id", "entities", "warnings"}
    assert all(set(entity) == KEYS for entity in row["entities"])


def test_a_file_in_its_order_to_a_file(saved_model, write, tmp_path):
    path = write("posts.jsonl", jsonl([{"id": f"p{k}", "text": f"Kevin {'x ' * (30 - k)}Paris"} for k in range(20)]))
    output = tmp_path / "out.jsonl"
    result = run("predict", path, "--output", output, "--model", saved_model, "--batch-size", "4")
    assert result.returncode == 0
    assert result.stdout == b""
    assert [row["id"] for row in lines_of(output.read_bytes())] == [f"p{k}" for k in range(20)]


def test_standard_input_and_conll(saved_model, write):
    piped = run(
        "predict", "-", "--model", saved_model, stdin=jsonl([{"id": "1", "words": ["Kevin", "Durant"]}]).encode()
    )
    assert [row["id"] for row in lines_of(piped.stdout)] == ["1"]
    from_conll = run("predict", write("x.txt", conll(POSTS)), "--model", saved_model)
    assert [row["id"] for row in lines_of(from_conll.stdout)] == [p.id for p in POSTS]


def test_explain_adds_the_steps(saved_model):
    result = run("predict", "--text", "Kevin Durant", "--explain", "--steps", "2", "--model", saved_model)
    (row,) = lines_of(result.stdout)
    assert len(row["steps"]) == 2
    assert set(row["relevance"]) == {"token", "sentence", "span"}


def test_bad_lines_are_reported_and_the_others_done(saved_model, write, tmp_path):
    content = b'{"id": "1", "text": "Kevin"}\n{bad\n{"id": "3", "text": "\xff"}\n{"id": "4", "text": "Paris"}\n'
    path, output = write("posts.jsonl", content), tmp_path / "out.jsonl"
    error = assert_refused(run("predict", path, "--output", output, "--model", saved_model), f"{path}:2:", f"{path}:3:")
    assert "2 lines could not be used" in error
    assert [row["id"] for row in lines_of(output.read_bytes())] == ["1", "4"]


def test_evaluate_writes_every_field(saved_model, write, tmp_path):
    path, out = write("valid.txt", conll(POSTS)), tmp_path / "scores.json"
    result = run("evaluate", path, "--model", saved_model, "--json", out, "--steps", "2", "--spans", "9", "--seed", "4")
    assert result.returncode == 0, result.stderr
    assert b"precision" in result.stdout
    scores = json.loads(out.read_text())
    assert set(scores) == {
        "precision",
        "recall",
        "f1",
        "per_type",
        "posts",
        "entities",
        "labels_sha256",
        "model",
        "seed",
        "steps",
        "spans",
    }
    assert (scores["posts"], scores["entities"]) == (4, 6)
    assert (scores["seed"], scores["steps"], scores["spans"]) == (4, 2, 9)
    assert all(set(row) == {"precision", "recall", "f1", "support"} for row in scores["per_type"].values())


def test_evaluate_refuses_unlabelled_and_foreign_labels(saved_model, write):
    assert_refused(run("evaluate", write("a.jsonl", jsonl([{"text": "x"}])), "--model", saved_model), "no labels")
    other = conll(POSTS).replace("MISC", "OTHER")
    path = write("b.txt", other)
    assert_refused(run("evaluate", path, "--model", saved_model), "OTHER", "--label-map")
    assert run("evaluate", path, "--model", saved_model, "--label-map", "OTHER=MISC").returncode == 0
    assert_refused(run("evaluate", path, "--model", saved_model, "--label-map", "OTHER"), "OLD=NEW")


def test_train_then_predict(write, encoders, tmp_path):
    write("train.txt", conll(POSTS))
    values = {
        "encoder": encoders("bert-uncased"),
        "data": {"folder": str(tmp_path), "valid": "train.txt"},
        "settings": FAST,
        "training": {"epochs": 5, "batch_size": 4},
    }
    recipe = write("recipe.yaml", safe_dump(values))
    folder = tmp_path / "run"
    result = run("train", recipe, "--set", "training.epochs=1", "--output", folder)
    assert result.returncode == 0, result.stderr
    assert b"epoch 1/1" in result.stderr
    assert run("predict", "--text", "Kevin Durant", "--model", folder).returncode == 0
    assert_refused(run("train", recipe, "--output", folder), "--resume")
    assert_refused(run("train", recipe, "--set", "training.epoch=1"), "did you mean 'epochs'")


def test_check_data_reports_and_fails(write):
    clean = run("check-data", write("good.txt", conll(POSTS)))
    assert clean.returncode == 0
    assert b"nothing wrong found" in clean.stdout
    bad = run("check-data", write("bad.txt", "IMGID:1\nParis\tI-LOC\n"))
    assert_refused(bad, "1 findings")
    assert b"bad.txt:2: I-LOC opens an entity" in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict"], ["either INPUT or --text"]),
        (["predict", "nowhere.jsonl"], ["nowhere.jsonl", "no such file"]),
        (["predict", "--text", "x", "--model", "nowhere/at/all"], ["nowhere/at/all"]),
        (["predict", "--text", "x", "--steps", "0"], ["steps must be"]),
        (["predict", "x.jsonl", "--caption", "c"], ["--caption goes with --text"]),
        (["evaluate", "nowhere.txt"], ["nowhere.txt"]),
        (["train", "nowhere.yaml"], ["nowhere.yaml"]),
        (["check-data", "nowhere.txt"], ["nowhere.txt"]),
        (["predict", "--txet", "x"], ["--txet"]),
        (["predikt"], ["predikt"]),
    ],
)
def test_wrong_usage_is_exit_2(arguments, words, tmp_path):
    assert_refused(run(*arguments, cwd=tmp_path), *words)


def test_empty_files_and_unwritable_outputs(saved_model, write, tmp_path):
    assert_refused(run("predict", write("e.jsonl", ""), "--model", saved_model), "holds no post")
    assert_refused(run("evaluate", write("e.txt", ""), "--model", saved_model), "holds no post")
    posts = write("p.jsonl", jsonl([{"text": "x"}]))
    assert_refused(
        run("predict", posts, "--output", tmp_path / "no" / "x", "--model", saved_model), "cannot be written"
    )


def test_empty_and_huge_posts(saved_model, write):
    rows = [{"id": "none", "text": ""}, {"id": "huge", "text": "Kevin " * 17000}, {"id": "last", "text": "Paris"}]
    result = run("predict", write("p.jsonl", jsonl(rows)), "--model", saved_model)
    assert result.returncode == 0
    assert [row["id"] for row in lines_of(result.stdout)] == ["none", "huge", "last"]


def test_demo_writes_its_page(saved_model, tmp_path):
    page = tmp_path / "demo.html"
    result = run("demo", "--model", saved_model, "--output", page)
    assert result.returncode == 0, result.stderr
    html = page.read_text()
    assert html.count("<article>") >= 8
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert result.stdout.decode().count("picture:") >= 8


def test_help_everywhere_with_an_example():
    names = "predict evaluate train calibrate extract import-visual reproduce baseline bench export".split()
    for command in ([], *([name] for name in (*names, "check-data", "convert", "suggest", "info", "demo"))):
        result = run(*command, "--help")
        assert result.returncode == 0
        if command:
            assert b"Example" in result.stdout
    assert run("--version").stdout.startswith(b"dpe-mner 0.")


def test_help_loads_no_heavy_library():
    code = "import sys, dpe_mner.commands.main; print(sorted({'torch', 'transformers', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def test_html_pages_escape_what_users_wrote(saved_model):
    from dpe_mner import Entity, Post, load
    from dpe_mner.pages.reasoning import explanation_page

    text = "<script>alert(1)</script> Kevin"
    posts = [Post(text=text, caption="<b>x</b>")]
    (found,) = load(saved_model).predict(posts, explain=True)
    whole = Entity(text, "PER", 0, len(text), 0, 2, 1.0)  # what the model marks may cut the text anywhere
    page = explanation_page(posts, [replace(found, entities=[whole])], title="t & t")
    assert "<script>" not in page
    assert ">&lt;script&gt;alert(1)&lt;/script&gt; Kevin<" in page
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "t &amp; t" in page
