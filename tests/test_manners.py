"""Small manners of the command line: short help, plain lines for wrong usage, paths that begin at home."""

from __future__ import annotations

import json
import os

import pytest
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, lines_of, run
from PIL import Image

from dpe_mner.data.dataset import load_dataset
from dpe_mner.pictures.opening import open_picture

NAMES = "predict evaluate train calibrate extract import-visual reproduce baseline bench export check-data".split()
NAMES += ["demo", "serve"]


@pytest.mark.parametrize("command", ["", *NAMES])
def test_h_is_help(command):
    arguments = [command] if command else []
    short = run(*arguments, "-h")
    assert short.returncode == 0
    assert short.stdout == run(*arguments, "--help").stdout
    assert b"Usage" in short.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predikt"], ["predikt", "predict", "dpe-mner --help"]),
        (["predict", "--txet", "x"], ["--txet", "--text", "dpe-mner predict --help"]),
        (["predict", "--text"], ["--text", "argument"]),
        (["predict", "a", "b"], ["b", "dpe-mner predict --help"]),
        (["predict", "--text", "x", "--batch-size", "many"], ["--batch-size", "integer"]),
        (["predict", "--text", "x", "--seed", ""], ["--seed"]),
        (["train"], ["Missing argument", "dpe-mner train --help"]),
        (["extract", "--images", "x"], ["--output"]),
        (["--nothing"], ["--nothing", "dpe-mner --help"]),
    ],
)
def test_wrong_usage_is_one_plain_line(arguments, words):
    error = assert_refused(run(*arguments), "dpe-mner: error: ", *words)
    assert error.count("\n") == 1
    assert not set("╭│╰─") & set(error)


def test_no_command_is_help_and_wrong_usage():
    shown = run()
    assert shown.returncode == 2
    assert b"Usage" in shown.stdout
    assert shown.stderr.strip() == b""


def test_a_null_id_is_an_absent_one(saved_model, write):
    rows = [{"id": None, "text": "Paris"}, {"text": "Rome"}, {"id": 0, "text": "x"}, {"id": "", "text": "y"}]
    path = write("p.jsonl", jsonl(rows))
    assert [post.id for post in load_dataset(path).posts] == ["1", "2", "0", ""]
    found = run("predict", path, "--model", saved_model)
    assert [row["id"] for row in lines_of(found.stdout)] == ["1", "2", "0", ""]


@pytest.fixture
def home(tmp_path, monkeypatch, saved_model):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "model").symlink_to(saved_model)
    Image.new("RGB", (4, 4)).save(folder / "p.png")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_paths_begin_at_home_in_every_option(home, tmp_path):
    (home / "d.txt").write_text(conll(POSTS))
    (home / "v.jsonl").write_text(jsonl([{"image_id": "a", "caption": "x"}]))
    (home / "p.jsonl").write_text(jsonl([{"text": "Paris"}]))
    model = "--model=~/model"
    for arguments, made in (
        (["predict", "~/p.jsonl", model, "--output=~/o.jsonl", "--html=~/o.html"], ["o.jsonl", "o.html"]),
        (["predict", "--text", "~", "--image=~/p.png", model, "--output=~/single.jsonl"], ["single.jsonl"]),
        (["evaluate", "~/d.txt", model, "--visual-text=~/v.jsonl", "--json=~/s.json"], ["s.json"]),
        (["evaluate", "~/d.txt", model, "--against=~/model", "--errors=~/e.json"], ["e.json"]),
        (["check-data", "~/d.txt", "--images=~", "--visual-text=~/v.jsonl"], []),
        (["demo", model, "--output=~/demo.html"], ["demo.html"]),
    ):
        result = run(*arguments, cwd=tmp_path)
        # An empty home of pictures and visual text without a post are findings, not paths that were not found.
        assert result.returncode == (2 if arguments[0] == "check-data" else 0), result.stderr
        assert b"cannot be read" not in result.stderr
        assert all((home / name).is_file() for name in made), made
    assert not (tmp_path / "~").exists()
    assert json.loads((home / "s.json").read_text())["posts"] == len(POSTS)


def test_text_is_no_path(home, saved_model):
    (row,) = lines_of(run("predict", "--text", "~/x", "--explain", "--model", saved_model).stdout)
    assert row["text"] == "~/x"


def test_pictures_of_posts_begin_at_home(home, write):
    path = write("p.jsonl", jsonl([{"text": "x", "image": "~/p.png"}, {"text": "y", "image": "p.png"}]))
    first, second = load_dataset(path).posts
    assert first.image == str(home / "p.png")
    assert second.image == os.path.join(path.parent, "p.png")
    assert open_picture("~/p.png").image.size == (4, 4)


def test_python_expands_too(home):
    import dpe_mner

    (home / "d.txt").write_text(conll(POSTS))
    assert dpe_mner.evaluate("~/d.txt", model="~/model").posts == len(POSTS)
