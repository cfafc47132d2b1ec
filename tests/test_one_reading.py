"""One reading of gold, pictures and joins, whichever command asks; and a count of what is left out."""

from __future__ import annotations

import json

import pytest
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, run

from dpe_mner.data.check import check_dataset
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.gold import gold_characters, gold_summary, gold_words, read_gold
from dpe_mner.data.joining import picture_by_id, picture_id
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.score import score
from dpe_mner.representations.windows import WindowTokenizer
from dpe_mner.settings import EncoderSettings
from dpe_mner.types import LabelledSpan, Post

TEXT = "at Bank of China today"


def labelled(start, end, text=TEXT):
    return Post(text=text, entities=(LabelledSpan(start=start, end=end, label="ORG"),))


@pytest.mark.parametrize(
    ("start", "end", "kind"),
    [(3, 16, None), (2, 16, "white-space"), (3, 17, "white-space"), (2, 17, "white-space"), (4, 16, "cuts-word")],
)
def test_gold_can_be_found_by_whole_words(start, end, kind, write):
    post = labelled(start, end)
    words = words_of(post)
    assert gold_words(post, words) == [(1, 3, "ORG")]
    assert gold_characters(post, words) == {(3, 16, "ORG")}
    assert score([gold_characters(post, words)], [{(3, 16, "ORG")}]).overall.f1 == 100
    row = {"id": "1", "text": TEXT, "entities": [{"start": start, "end": end, "label": "ORG"}]}
    _, problems = check_dataset(write("x.jsonl", jsonl([row])))
    assert [p.kind for p in problems] == ([] if kind is None else [kind])


def test_gold_without_a_word_is_counted(write, saved_model):
    post = labelled(2, 3)
    assert read_gold(post, words_of(post)).wordless == 1
    assert gold_characters(post, words_of(post)) == set()
    assert "1 hold no word" in gold_summary([post, labelled(3, 16)])
    assert gold_summary([labelled(3, 16)]) == ""
    spans = [(2, 3), (4, 9)]
    row = {"id": "1", "text": TEXT, "entities": [{"start": a, "end": b, "label": "ORG"} for a, b in spans]}
    path = write("x.jsonl", jsonl([row]))
    assert {p.kind for p in check_dataset(path)[1]} == {"no-word", "cuts-word"}
    error = run("evaluate", path, "--model", saved_model).stderr.decode()
    assert "1 cut a word and are read as the whole word; 1 hold no word and are left out" in error


def test_entities_longer_than_a_window_are_counted(build):
    from dpe_mner.training.examples import make_examples

    pretrained = build().tokenizer.pretrained
    tokenizer = WindowTokenizer(pretrained, EncoderSettings(window_words=8, window_overlap=2), max_pieces=64)
    words = tuple("abcdefghijklmnop")
    spans = (LabelledSpan(start=0, end=12, label="LOC"), LabelledSpan(start=6, end=8, label="PER"))
    posts = [Post(words=words, entities=spans), Post(words=(), entities=())]
    said: list[str] = []
    examples = make_examples(posts, tokenizer, ["PER", "LOC"], log=said.append)
    assert {label for example in examples for _, _, label in example.gold} == {1}
    assert len(said) == 1
    assert "1 of 2 entities, longer than a window (8 words" in said[0]
    make_examples([Post(words=words, entities=spans[1:])], tokenizer, ["PER", "LOC"], log=said.append)
    assert len(said) == 1


def test_training_says_what_it_leaves_out(recipe_file, tmp_path, write):
    rows = [
        {"id": "x", "text": " Kevin Durant ", "entities": [{"start": 0, "end": 13, "label": "PER"}]},
        {"id": "y", "text": "Kevin Durant", "entities": [{"start": 2, "end": 12, "label": "PER"}], "spans": []},
    ]
    write("train.jsonl", jsonl(rows))
    result = run(
        "train", recipe_file, "--set", "data.train=train.jsonl", "--set", "training.epochs=1", "--set",
        "data.labels=[PER, LOC, ORG, MISC]", "--output", tmp_path / "run",
    )  # fmt: skip
    error = result.stderr.decode()
    assert result.returncode == 0, error
    assert "1 cut a word and are read as the whole word" in error
    assert "label-key: 1, the first is" in error
    assert "0 of 16 captions joined, to 0 of 2 posts" in error
    assert "12 of 16 captions joined, to 12 of 12 posts" in error


def test_training_refuses_data_without_an_entity(recipe_file, write, tmp_path):
    write("train.txt", "Kevin\tO\n")
    assert_refused(
        run("train", recipe_file, "--output", tmp_path / "run"), "train.txt", "none of its 1 posts has an entity"
    )


PICTURE_IDS = ["16_05", "16_05.jpg", "16_05.JPG", "photos/16_05.png", "16_05.webp"]


@pytest.mark.parametrize("in_posts", PICTURE_IDS)
@pytest.mark.parametrize("in_file", PICTURE_IDS)
def test_captions_join_with_and_without_endings(in_posts, in_file, write):
    visual = write("v.jsonl", jsonl([{"image_id": in_file, "caption": "a tower"}]))
    data = load_dataset(write("p.jsonl", jsonl([{"id": in_posts, "text": "a"}])), visual_text=visual)
    assert data.posts[0].caption == "a tower"
    assert data.visual.summary == f"{visual}: 1 of 1 captions joined, to 1 of 1 posts"


def test_the_exact_id_wins_and_a_picture_has_an_id_too(write):
    rows = [{"image_id": "1", "caption": "bare"}, {"image_id": "1.jpg", "caption": "ending"}]
    posts = [{"id": "1", "text": "a"}, {"id": "1.jpg", "text": "b"}, {"id": "x", "text": "c", "image": "in/1.png"}]
    data = load_dataset(write("p.jsonl", jsonl(posts)), visual_text=write("v.jsonl", jsonl(rows)))
    assert [post.caption for post in data.posts] == ["bare", "ending", "bare"]


@pytest.mark.parametrize(("name", "expected"), [
    ("1.jpg", "1"), ("a/b.PNG", "b"), ("1.5", "1.5"), (".jpg", ".jpg"), ("x.tiff", "x"), ("c\\d.gif", "d"), ("", ""),
])  # fmt: skip
def test_picture_ids(name, expected):
    assert picture_id(name) == expected


@pytest.mark.parametrize("identifier", ["7", "7.jpg", "7.tif"])
@pytest.mark.parametrize("there", ["7.jpg", "7.JPG", "7.tif", "7.avif", "7.jpeg"])
def test_a_picture_is_found_by_any_ending_that_extract_reads(identifier, there, tmp_path):
    (tmp_path / there).write_bytes(b"x")
    assert picture_by_id(tmp_path, identifier) == str(tmp_path / there)


def test_captions_that_join_nothing_are_told_by_every_command(write, saved_model):
    visual = write("v.jsonl", jsonl([{"image_id": f"other{k}", "caption": "a"} for k in range(7)]))
    path = write("p.txt", conll(POSTS))
    for command in (["predict", path], ["evaluate", path]):
        for quiet in ([], ["--quiet"]):
            result = run(*command, "--visual-text", visual, "--model", saved_model, *quiet)
            assert b"0 of 7 captions joined, to 0 of 4 posts" in result.stderr
    checked = run("check-data", path, "--visual-text", visual)
    assert_refused(checked, "findings")
    assert b"nothing-joined: 1" in checked.stdout
    some = write("s.jsonl", jsonl([{"image_id": "a", "caption": "x"}, {"image_id": "zz", "caption": "x"}]))
    result = run("predict", path, "--visual-text", some, "--model", saved_model)
    assert b"1 of 2 captions joined, to 1 of 4 posts" in result.stderr
    assert run("predict", path, "--visual-text", some, "--model", saved_model, "--quiet").stderr == b""


def test_check_data_opens_pictures_as_predict_does(write, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    import struct
    import zlib

    from dpe_mner.pictures.opening import PictureError, open_picture

    def png(width, height):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")

    image.new("RGB", (8, 8)).save(tmp_path / "good.jpg")
    image.new("1", (7000, 7000)).save(tmp_path / "wide.png")  # more pixels than are decoded
    (tmp_path / "huge.png").write_bytes(png(60000, 60000))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    (tmp_path / "folder.jpg").mkdir()
    names = ["good.jpg", "wide.png", "huge.png", "empty.jpg", "text.jpg", "folder.jpg", "gone.jpg", "http://x/y.jpg"]
    rows = [{"id": str(k), "text": f"a {k}", "image": name} for k, name in enumerate(names)]
    data, problems = check_dataset(write("p.jsonl", jsonl(rows)), labelled=False)
    reasons = {problem.line: problem.message for problem in problems}
    assert open_picture(data.posts[0].image).image.size == (8, 8)
    assert set(reasons) == {post.line for post in data.posts[1:]}
    for post in data.posts[1:]:
        with pytest.raises(PictureError) as refused:
            open_picture(post.image)
        assert reasons[post.line].endswith(str(refused.value))


def test_crops_and_phrases_join_by_the_same_rule(tmp_path):
    pytest.importorskip("lmdb", reason="lmdb is not installed")
    from dpe_mner.pictures.imports import read_crop_index

    index = tmp_path / "crops.json"
    index.write_text('{"1.jpg": ["a.jpg"], "1.jpg": ["b.jpg"]}')
    from dpe_mner.errors import InputError

    with pytest.raises(InputError, match="occurs twice"):
        read_crop_index(index)
    index.write_text(json.dumps({"1.jpg": ["a.jpg"]}))
    assert read_crop_index(index) == {"1.jpg": ["a.jpg"]}


def test_a_score_from_python_warns_of_what_it_does_not_cover(write, saved_model):
    import dpe_mner

    rows = [{"id": "1", "text": "Kevin ", "entities": [{"start": 0, "end": 5, "label": "PER"}]}]
    bad = [{"id": "2", "text": "Kevin", "entities": [{"start": 0, "end": 50, "label": "PER"}]}]
    with pytest.warns(UserWarning, match="1 lines could not be used, the first: .*x.jsonl:2"):
        dpe_mner.evaluate(write("x.jsonl", jsonl(rows + bad)), model=saved_model, steps=1)
    visual = write("v.jsonl", jsonl([{"image_id": "no", "caption": "a"}]))
    with pytest.warns(UserWarning, match="0 of 1 captions joined"):
        dpe_mner.evaluate(write("y.jsonl", jsonl(rows)), model=saved_model, visual_text=visual, steps=1)
