"""CoNLL and JSON as they lie about: read rightly, or told with file and line; never wrong in silence."""

from __future__ import annotations

import json

import pytest
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, lines_of, run

from dpe_mner.data.check import check_dataset
from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import load_dataset
from dpe_mner.errors import InputError

INTEL = [(("Intel", "rose"), [(0, 1, "ORG")]), (("Paris",), [(0, 1, "LOC")])]


def told(data):
    """Words (or text) and entities of each post."""
    return [
        (p.words or p.text, None if p.entities is None else [(e.start, e.end, e.label) for e in p.entities])
        for p in data.posts
    ]


def kinds(problems):
    return [(problem.kind, problem.line) for problem in problems]


@pytest.mark.parametrize(
    "content",
    [
        "Intel B-ORG\nrose O\n\nParis B-LOC\n",
        "Intel  B-ORG\nrose   O\n\nParis  B-LOC  \n",
        "Intel NNP B-ORG\nrose VBD O\n\nParis NNP B-LOC\n",
        "Intel\tNNP\tB-NP\tB-ORG\nrose\tVBD\tO\tO\n\nParis\tNNP\tB-NP\tB-LOC\n",
        "Intel a b c d e f g h B-ORG\nrose a b c d e f g h O\n\nParis a b c d e f g h B-LOC\n",
        "-DOCSTART- -X- -X- O\n\nIntel NNP B-NP B-ORG\nrose VBD O O\n\n-DOCSTART- -X- -X- O\n\nParis NNP O B-LOC\n",
        "-DOCSTART-\tO\nIntel\tB-ORG\nrose\tO\n-DOCSTART-\tO\nParis\tB-LOC\n",
        "# text = Intel rose\nIntel\tB-ORG\n# a = b\nrose\tO\n\n# newdoc\nParis\tB-LOC\n",
        "Intel\tB-ORG\nrose\tO\n \t \nParis\tB-LOC\n\t\n",
        "\ufeffIntel\tB-ORG\r\nrose\tO\r\n\r\n\ufeffParis\tB-LOC\r\n",
        "Intel\tB-ORG\rrose\tO\r\rParis\tB-LOC\r",
        "IMGID:1\nIntel\tB-ORG\nrose\tO\nIMGID:2\nParis\tB-LOC",
        "\ufeffimgid: 1\nIntel S-ORG\nrose O\n\nParis U-LOC",
    ],
)
def test_the_same_posts_however_they_are_written(content, write):
    data = load_dataset(write("x.txt", content))
    assert told(data) == INTEL
    assert data.problems == []


def test_hashtags_are_words_and_comments_are_not(write):
    content = "# id = 5\n#\tO\n#NBA\tB-ORG\n# sent_id = 7\n\n# sent_id = x\n# O\n#key B-LOC\n# = X B-PER\n"
    data = load_dataset(write("x.txt", content))
    assert [p.id for p in data.posts] == ["5", "x"]
    assert told(data)[0] == (("#", "#NBA"), [(1, 2, "ORG")])
    assert data.posts[1].words == ("#", "#key", "#")
    assert kinds(data.problems) == [("bad-columns", 9)]


@pytest.mark.parametrize(
    ("content", "found", "message"),
    [
        ("Intel\tB-ORG\nrose\nParis\tB-LOC\n", [("missing-tag", 2)], "'rose' has 1 column, others 2"),
        ("Intel B-ORG\nNew York B-LOC\nrose O\n", [("bad-columns", 2)], "3 columns, others 2"),
        ("Intel\tX-ORG\nParis\tB-LOC\nrose\tO\n", [("bad-tag", 1)], "'X-ORG' is no IOB"),
        ("word\ttag\nIntel\tB-ORG\nrose\tO\n", [("bad-tag", 1)], "'tag' is no IOB"),
        ("Intel B-ORG NNP\nrose O VBD\n", [("columns", 1), ("no-labels", 0)], "give --tag-column 2"),
        ("Intel B_ORG\nrose o\n", [("columns", 1), ("no-labels", 0)], "holds no tags (e.g. 'B_ORG')"),
        ("1 Intel B-ORG\n2 rose O\n", [("columns", 1)], "give --word-column 2"),
        ("Intel\nrose\n", [("no-labels", 0)], "no post has labels"),
        ("Intel O\nrose O\n", [("no-labels", 0)], "not one entity is labelled"),
        ("# a comment of ours\nIntel B-ORG\nrose O\n", [("bad-columns", 1)], "5 columns, others 2"),
        ("Intel\tB-ORG\n\tO\n", [("empty-word", 2)], "no word"),
        ("A\tB-X\nB\tO\n\nC\nD\n", [("missing-tag", 4), ("unlabelled", 4)], "has no tags, other posts have"),
        ('{"text": "a", "entities": [{"start": 0, "end": 1, "label": "X"}]}', [("wrong-ending", 0)], "name it .jsonl"),
    ],
)
def test_what_does_not_fit_is_a_finding_with_its_line(content, found, message, write):
    path = write("x.txt", content)
    _, problems = check_dataset(path)
    assert set(found) <= set(kinds(problems))
    assert {kind for kind, _ in found} | {"unlabelled", "no-labels"} >= {problem.kind for problem in problems}
    assert any(message in str(problem) for problem in problems)
    error = assert_refused(run("check-data", path), "findings")
    assert "nothing wrong" not in error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "word,tag\nIntel,B-ORG\nrose,O\n", "looks like a table with ','"),
        ("x.conll", "Intel,B-ORG\nrose,O\n", "looks like a table with ','"),
        ("x.csv", "Sentence #,Word,POS,Tag\nSentence: 1,Intel,NNP,B-ORG\n", "looks like a table"),
        ("x.csv", 'a,b\n"Intel, rose",1\n', "looks like a table"),
        ("x.tsv", "text\tlabel\nIntel rose\tORG\n", "looks like a table with '\\t'"),
        ("x.txt", "Intel rose again today\nParis is a nice town\nwhat\n", "looks like plain text"),
        ("x.xml", "<?xml version='1.0'?>\n<a/>\n", "XML"),
        ("x.txt", "Intel\tB-ORG\nrose\tO\n".encode("utf-16"), "UTF-16"),
        ("x.spacy", b"anything", "--from spacy"),
        ("x.txt", b"x\x9c\x01\x02", "--from spacy"),
        ("x.ann", "T1\tLOC 0 5\tParis\n", "--from brat"),
    ],
)
def test_what_is_something_else_is_refused_by_every_command(name, content, message, write, saved_model):
    path = write(name, content)
    for command in (["check-data", path], ["predict", path, "--model", saved_model], ["evaluate", path]):
        assert_refused(run(*command), name, message)


def test_a_folder_and_a_text_of_brat_are_named(write, tmp_path):
    write("d.ann", "T1\tLOC 0 5\tParis\n")
    path = write("d.txt", "Paris is a town\nof many lights and more\n")
    for place in (path, tmp_path):
        with pytest.raises(InputError, match="--from brat"):
            load_dataset(place)


def test_the_tag_column_is_the_users_to_name(write, saved_model, encoders, tmp_path):
    path = write("x.txt", "1 Kevin B-PER NNP\n2 rose O VBD\n")
    data = load_dataset(path, columns=Columns(word=2, tag=3))
    assert told(data) == [(("Kevin", "rose"), [(0, 1, "PER")])]
    assert told(load_dataset(path, columns=Columns(word=2, tag=-2))) == told(data)
    options = ["--tag-column", "3", "--word-column", "2"]
    assert run("check-data", path, *options).returncode == 0
    predicted = run("predict", path, *options, "--model", saved_model)
    assert (predicted.returncode, predicted.stderr) == (0, b"")
    assert run("evaluate", path, *options, "--model", saved_model).returncode == 0
    assert_refused(run("check-data", path, "--tag-column", "9"), "column 9 was asked for", "x.txt:1")
    assert_refused(run("check-data", path, "--tag-column", "0"), "--tag-column")
    assert_refused(run("check-data", path, "--tag-column", "1"), "--word-column")
    recipe = write(
        "r.yaml",
        f"encoder: {encoders('bert-uncased')}\ndata: {{folder: {tmp_path}, train: x.txt, valid: none.txt}}\n",
    )
    assert_refused(run("train", recipe, *options, "--output", tmp_path / "run"), "none.txt")
    assert_refused(run("train", recipe, "--output", tmp_path / "run"), "x.txt", "--tag-column 3")


def test_predict_takes_files_without_labels(write, saved_model):
    for content in ("Intel\nrose\n\nParis\n", "Intel\tO\nrose\tO\n\nParis\tO\n"):
        result = run("predict", write("x.txt", content), "--model", saved_model)
        assert (result.returncode, result.stderr) == (0, b"")
        assert len(lines_of(result.stdout)) == 2
    assert run("check-data", write("w.txt", "Intel\nrose\n"), "--unlabelled").returncode == 0


def test_predict_reads_words_alone_from_spaces(write, saved_model):
    result = run(
        "predict", write("x.txt", "Intel B-ORG\nrose O\n"), "--model", saved_model, "--explain", "--steps", "1"
    )
    assert lines_of(result.stdout)[0]["text"] == "Intel rose"


def test_lines_that_are_lost_end_in_an_error_after_the_others(write, saved_model):
    path = write("x.txt", "Kevin B-PER\nNew York B-LOC\nrose O\n\nParis B-LOC\n")
    result = run("predict", path, "--model", saved_model)
    assert len(lines_of(result.stdout)) == 2
    assert_refused(result, "x.txt:2", "1 lines could not be used")


def test_like_warnings_are_counted(write, saved_model):
    path = write("x.jsonl", jsonl([{"id": str(k), "text": "a", "labels": []} for k in range(50)]))
    error = run("predict", path, "--model", saved_model).stderr.decode()
    assert error.count("looks like labels") == 3
    assert "and 47 more" in error


def test_evaluate_says_why_labels_are_missing(write, saved_model):
    path = write("x.txt", "Kevin\tB-PER\nrose\n\nParis\tB-LOC\n")
    assert_refused(run("evaluate", path, "--model", saved_model), "no labels", "x.txt:2", "'rose'")
    nothing = run("evaluate", write("o.txt", "Kevin\tO\n"), "--model", saved_model)
    assert b"not one entity is labelled" in nothing.stderr


POST = {"id": "1", "text": "Paris", "entities": [{"start": 0, "end": 5, "label": "LOC"}]}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([POST, {"id": "2", "text": "x"}]),
        json.dumps([POST, {"id": "2", "text": "x"}], indent=2),
        json.dumps(POST, indent=4) + "\n" + json.dumps({"id": "2", "text": "x"}, indent=4),
        "\ufeff" + json.dumps(POST) + "\n\ufeff" + json.dumps({"id": "2", "text": "x"}),
        json.dumps(POST) + "\r\n\r\n" + json.dumps({"id": "2", "text": "x"}) + "\r\n",
        "[\n" + json.dumps(POST) + ",\n" + json.dumps({"id": "2", "text": "x"}) + "\n]\n",
    ],
)
@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_json_however_it_is_laid_out(name, content, write):
    data = load_dataset(write(name, content))
    assert [p.id for p in data.posts] == ["1", "2"]
    assert told(data)[0] == ("Paris", [(0, 5, "LOC")])
    assert data.problems == []


def test_lines_of_pretty_printed_json_are_right(write):
    path = write("x.json", '[\n  {"text": "a"},\n  {\n    "txt": "b"\n  },\n  {"text": "c"}\n]\n')
    data = load_dataset(path)
    assert [p.line for p in data.posts] == [2, 6]
    assert kinds(data.problems) == [("bad-post", 3)]


def test_an_array_that_is_cut_off_keeps_what_came_before(write):
    data = load_dataset(write("x.json", '[\n{"text": "a"},\n{"text": "b"},\n{"text": '))
    assert [p.text for p in data.posts] == ["a", "b"]
    assert [(p.kind, p.loses_data) for p in data.problems] == [("bad-json", True)]


def test_a_key_said_twice_is_an_error(write, encoders, tmp_path):
    path = write("x.jsonl", '{"text": "a", "text": "b"}\n{"text": "c", "entities": [{"start": 0, "start": 0}]}\n')
    with pytest.raises(InputError, match=r"x\.jsonl:1: .*'text' occurs twice"):
        load_dataset(path)
    recipe = write("r.yaml", "encoder: x\ntraining:\n  epochs: 1\n  seed: 3\n  epochs: 2\n")
    assert_refused(run("train", recipe), "r.yaml", "line 5", "'epochs' occurs twice")
    merged = write("m.yaml", "base: &b {epochs: 1}\ntraining:\n  <<: *b\n  epochs: 2\nencoder: x\n")
    assert "occurs twice" not in assert_refused(run("train", merged), "base")


@pytest.mark.parametrize(
    ("row", "key", "tool"),
    [
        ({"text": "Paris", "label": [[0, 5, "LOC"]]}, "label", "doccano"),
        ({"text": "Paris", "labels": [[0, 5, "LOC"]]}, "labels", "doccano"),
        ({"text": "Paris", "spans": [{"start": 0, "end": 5, "label": "LOC"}]}, "spans", "prodigy"),
        ({"text": "Paris", "label": [{"start": 0, "end": 5, "labels": ["L"]}]}, "label", "label-studio-min"),
        ({"text": "Paris", "ner": [[0, 0, "LOC"]]}, "ner", None),
        ({"text": "Paris", "ner_tags": ["B-LOC"]}, "ner_tags", None),
        ({"text": "Paris", "annotations": []}, "annotations", None),
        ({"text": "Paris", "results": []}, "results", None),
        ({"text": "Paris", "Entities": []}, "Entities", None),
        ({"text": "Paris", "entites": []}, "entites", None),
        ({"words": ["Paris", "is"], "tags": ["B-LOC", "O"]}, "tags", None),
    ],
)
def test_keys_that_look_like_labels_are_told(row, key, tool, write, saved_model):
    path = write("x.jsonl", jsonl([row]))
    _, problems = check_dataset(path)
    assert ("label-key", 1) in kinds(problems)
    predicted = run("predict", path, "--model", saved_model)
    assert predicted.returncode == 0
    for text in (str(problems[0]), predicted.stderr.decode()):
        assert repr(key) in text
        assert (f"--from {tool}" in text) == (tool is not None)
    assert_refused(run("evaluate", path, "--model", saved_model), "no labels", repr(key))


@pytest.mark.parametrize(
    ("value", "tool"),
    [
        ([{"id": 1, "data": {"text": "Paris"}, "annotations": [{"result": []}]}], "label-studio"),
        ([{"tokenized_text": ["Paris"], "ner": [[0, 0, "LOC"]]}], "gliner"),
        ([{"tokens": ["Paris"], "ner_tags": [1]}], "huggingface"),
        ([["Paris", {"entities": [[0, 5, "LOC"]]}]], "spacy-json"),
        ({"classes": ["LOC"], "annotations": [["Paris", {"entities": []}]]}, "spacy-json"),
        ([{"text": "Paris", "entities": [[0, 5, "LOC"]]}], "spacy-json"),
        ([{"text": "P", "entities": [{"label": "L", "start_offset": 0, "end_offset": 1}]}], "doccano"),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_other_tools_files_are_named_with_the_command(value, tool, indent, write, saved_model):
    path = write("x.json", json.dumps(value, indent=indent))
    for command in (["check-data", path], ["evaluate", path, "--model", saved_model]):
        assert_refused(run(*command), f"dpe-mner convert {path} --from {tool} --to jsonl")
    out = path.with_suffix(".jsonl")
    names = ["--class-names", "O,B-LOC"] if tool == "huggingface" else []
    assert run("convert", path, "--from", tool, "--to", "jsonl", "--output", out, *names).returncode == 0
    assert len(load_dataset(out).posts) == 1


def test_clean_files_stay_clean(write):
    for name, content in (("a.txt", conll(POSTS)), ("b.json", json.dumps([POST]))):
        assert check_dataset(write(name, content))[1] == []
