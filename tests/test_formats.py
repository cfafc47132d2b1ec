"""Other tools' files: what each holds, both ways, in every unit, and what is left out is counted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import POSTS, jsonl
from helpers import assert_refused, run
from hypothesis import given, settings
from hypothesis import strategies as st

from dpe_mner.data.dataset import load_dataset
from dpe_mner.errors import InputError
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.offsets import Offsets
from dpe_mner.formats.registry import FORMATS, convert
from dpe_mner.types import LabelledSpan

TEXT = "😀 Zoë visits  New York"  # an emoji is one character, two UTF-16 units, four bytes
ENTITIES = [(2, 5, "PER"), (14, 22, "LOC")]
GRAPHS = {"turtle", "n-triples", "json-ld"}
BOTH_WAYS = [name for name in FORMATS if name not in {"jsonl", "predictions", "displacy"}]  # of what people labelled
BASE = FormatOptions(base="https://example.org/")
WORDS_ONLY = {"conll", "gliner", "huggingface"}


def entities_of(post):
    return None if post.entities is None else [(e.start, e.end, e.label) for e in post.entities]


def posts_file(write, name="posts.jsonl"):
    rows = [
        {
            "id": "a",
            "text": TEXT,
            "image": "a.jpg",
            "caption": "a city",
            "tags": ["car"],
            "entities": [{"start": s, "end": e, "label": label} for s, e, label in ENTITIES],
        },
        {"id": "b", "text": "nothing here", "entities": []},
        {"id": "c", "text": "not labelled"},
    ]
    return write(name, jsonl(rows))


def read(path, name, tmp_path, **options):
    """Posts of a file in a format."""
    back = tmp_path / f"back-{name}.jsonl"
    done = convert(path, back, read_as=name, write_as="jsonl", **options)
    return load_dataset(back).posts, done


def needs(name):
    if name == "spacy":
        pytest.importorskip("spacy", reason="spaCy is not installed")
    if name in GRAPHS:
        pytest.importorskip("rdflib", reason="rdflib is not installed")


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_there_and_back(name, write, tmp_path):
    needs(name)
    made = tmp_path / f"made-{name}"
    done = convert(posts_file(write), made, read_as="jsonl", write_as=name, options=BASE)
    assert done.posts == 3
    posts, back = read(made, name, tmp_path)
    assert [p.kind for p in back.problems] == (["missing-tag"] if name == "conll" else [])
    if name in WORDS_ONLY:
        words = ["😀", "Zoë", "visits", "New", "York"]
        assert [tuple(post.words) for post in posts] == [tuple(words), ("nothing", "here"), ("not", "labelled")]
        assert entities_of(posts[0]) == [(1, 2, "PER"), (3, 5, "LOC")]
        assert done.not_written["texts cut into words (white space is not kept)"] == 3
    else:
        assert [post.text for post in posts] == [TEXT, "nothing here", "not labelled"]
        assert entities_of(posts[0]) == ENTITIES
    if name in GRAPHS:
        assert posts[1].entities is None
        assert done.not_written["posts without entities (a graph cannot tell them from unlabelled ones)"] == 1
    else:
        assert entities_of(posts[1]) == []
    if name == "brat":
        assert done.not_written["posts without labels (brat cannot tell them from posts without entities)"] == 1
    else:
        assert posts[2].entities is None
    kept = (posts[0].caption, posts[0].tags, str(posts[0].image))
    if name in {"conll", "brat", "spacy-json"}:
        assert kept == (None, None, "None")
        assert done.not_written["captions"] == done.not_written["pictures"] == 1
    else:
        assert kept == ("a city", ("car",), str(tmp_path / "a.jpg"))
    if name == "spacy-json":
        assert done.not_written["ids"] == 3
    else:
        assert [post.id for post in posts] == ["a", "b", "c"]


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_posts_given_as_words(name, write, tmp_path):
    needs(name)
    rows = [{"id": p.id, "words": p.words, "entities": [vars(e) for e in p.entities]} for p in POSTS]
    made = tmp_path / "made"
    convert(write("w.jsonl", jsonl(rows)), made, read_as="jsonl", write_as=name, options=BASE)
    posts, done = read(made, name, tmp_path)
    assert done.problems == []
    for post, own in zip(posts, POSTS, strict=True):
        if name in WORDS_ONLY:
            assert (tuple(post.words), tuple(post.entities)) == (own.words, own.entities)
        else:
            assert post.text == " ".join(own.words)
            covered = [" ".join(own.words[e.start : e.end]) for e in own.entities]
            assert [post.text[e.start : e.end] for e in post.entities or ()] == covered


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.offsets and not each.ours])
@pytest.mark.parametrize(("unit", "start"), [("characters", 2), ("utf16", 3), ("bytes", 5)])
def test_offsets_in_any_unit(name, unit, start, write, tmp_path):
    made = tmp_path / "made"
    convert(posts_file(write), made, read_as="jsonl", write_as=name, offsets=unit)
    shown = (made / "a.ann" if name == "brat" else made).read_text(encoding="utf-8")
    assert re.search(rf"(?<!\d){start}\D", shown)
    posts, done = read(made, name, tmp_path, offsets=unit)
    assert entities_of(posts[0]) == ENTITIES
    assert done.problems == []


@given(st.text(max_size=30), st.sampled_from(["utf16", "bytes"]))
@settings(max_examples=60, deadline=None)
def test_units_agree_with_the_encodings(text, unit):
    offsets = Offsets(text, unit)
    for place in range(len(text) + 1):
        head = text[:place]
        expected = len(head.encode("utf-16-le", "surrogatepass")) // 2 if unit == "utf16" else len(head.encode())
        assert offsets.from_characters(place) == expected
        assert offsets.to_characters(expected) == place


def test_a_wrong_unit_is_told_where_the_file_says_what_it_covers(write, tmp_path):
    made = tmp_path / "made.json"
    convert(posts_file(write), made, read_as="jsonl", write_as="label-studio", offsets="utf16")
    posts, done = read(made, "label-studio", tmp_path)
    assert entities_of(posts[0]) == []
    assert [p.kind for p in done.problems] == ["bad-entity", "bad-entity"]
    assert "give --offsets utf16" in str(done.problems[0])


DOCCANO = [
    {"id": 1, "text": "Paris is", "label": [[0, 5, "LOC"]]},
    {"id": 2, "text": "Paris is", "labels": [[0, 5, "LOC"]]},
    {"id": 3, "text": "Paris", "entities": [{"label": "LOC", "start_offset": 0, "end_offset": 5}], "relations": [{}]},
    {"id": 4, "text": "Paris is", "label": ["travel"]},
    {"id": 5, "text": "Paris is"},
    {"id": 6, "text": "Paris is", "label": [[0, 99, "LOC"], [0, 5, "LOC"]]},
]  # fmt: skip


def test_every_shape_of_doccano(write, tmp_path):
    posts, done = read(write("d.jsonl", jsonl(DOCCANO)), "doccano", tmp_path)
    paris = [(0, 5, "LOC")]
    assert [entities_of(p) for p in posts] == [paris, paris, paris, [], None, paris]
    assert done.not_read == {"relations": 1, "classes of whole posts": 1}
    assert [(p.line, p.kind) for p in done.problems] == [(6, "bad-entity")]


def test_label_studio_takes_what_a_person_said(write, tmp_path):
    def result(start, end, covered, **more):
        value = {"start": start, "end": end, "text": covered, "labels": ["LOC"]}
        return {"value": value, "id": "x", "from_name": "ner", "to_name": "text", "type": "labels", **more}

    tasks = [
        {
            "id": 7,
            "data": {"tweet": "Paris is", "caption": "a tower"},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {"result": [result(0, 5, "Paris"), {"type": "choices", "value": {"choices": ["good"]}}]},
                {"result": []},
            ],
            "predictions": [{"result": [result(6, 8, "is")]}],
        },
        {"id": 8, "data": {"text": "two\nlines"}, "annotations": [{"result": [result(0, 9, "two\\nlines")]}]},
        {"id": 9, "data": {"text": "new"}, "annotations": []},
    ]
    path = write("ls.json", json.dumps(tasks, indent=2))
    posts, done = read(path, "label-studio", tmp_path)
    assert [(p.id, p.text, entities_of(p)) for p in posts] == [
        ("7", "Paris is", [(0, 5, "LOC")]),
        ("8", "two\nlines", [(0, 9, "LOC")]),
        ("9", "new", None),
    ]
    assert posts[0].caption == "a tower"
    assert {what: n for what, n in done.not_read.items() if n} == {
        "cancelled annotations": 1,
        "second annotations of a task": 1,
        "predictions of a model": 1,
        "results of type 'choices'": 1,
    }
    assert done.problems == []


def test_label_studio_min_finds_its_labels_under_any_name(write, tmp_path):
    row = {"text": "Paris is", "id": 3, "ner": [{"start": 0, "end": 5, "text": "Paris", "labels": ["LOC", "GPE"]}]}
    posts, _ = read(write("m.json", json.dumps([row])), "label-studio-min", tmp_path)
    assert entities_of(posts[0]) == [(0, 5, "LOC"), (0, 5, "GPE")]


SPACY_SHAPES = [
    [["Paris is", {"entities": [[0, 5, "LOC"]]}]],
    [{"text": "Paris is", "ents": [{"start": 0, "end": 5, "label": "LOC"}]}],
    {"classes": ["LOC"], "annotations": [["Paris is", {"entities": [[0, 5, "LOC"]]}], None]},
]


@pytest.mark.parametrize("value", SPACY_SHAPES)
def test_every_shape_of_spacy_json(value, write, tmp_path):
    posts, done = read(write("s.json", json.dumps(value)), "spacy-json", tmp_path)
    assert [(p.text, entities_of(p)) for p in posts] == [("Paris is", [(0, 5, "LOC")])]
    assert done.problems == []


def test_version_2_paragraphs_of_spacy(write, tmp_path):
    tokens = [{"orth": "New", "ner": "B-LOC"}, {"orth": "York", "ner": "L-LOC"}, {"orth": "is", "ner": "O"}]
    value = [{"id": 0, "paragraphs": [{"raw": "New York is", "sentences": [{"tokens": tokens}]}]}]
    posts, _ = read(write("s.json", json.dumps(value)), "spacy-json", tmp_path)
    assert (posts[0].words, entities_of(posts[0])) == (("New", "York", "is"), [(0, 2, "LOC")])


def test_hugging_face_names_and_numbers(write, tmp_path):
    numbers = write("n.jsonl", jsonl([{"tokens": ["Tim", "Cook", "in", "Paris"], "ner_tags": [1, 2, 0, 3]}]))
    names = FormatOptions(class_names=("O", "B-PER", "I-PER", "B-LOC"))
    posts, _ = read(numbers, "huggingface", tmp_path, options=names)
    assert entities_of(posts[0]) == [(0, 2, "PER"), (3, 4, "LOC")]
    with pytest.raises(InputError, match="--class-names"):
        read(numbers, "huggingface", tmp_path)
    bare = FormatOptions(class_names=("O", "PER", "PER-I", "L"))
    posts, _ = read(numbers, "huggingface", tmp_path, options=bare)
    assert entities_of(posts[0]) == [(0, 1, "PER"), (1, 2, "PER-I"), (3, 4, "L")]
    with pytest.raises(InputError, match=r"holds no post.*class 2 of 2"):
        read(numbers, "huggingface", tmp_path, options=FormatOptions(class_names=("O", "B-PER")))
    table = {"tokens": [["Paris"], ["is"]], "ner_tags": [["B-LOC"], ["O"]]}
    posts, _ = read(write("t.json", json.dumps(table)), "huggingface", tmp_path)
    assert [(p.words, entities_of(p)) for p in posts] == [(("Paris",), [(0, 1, "LOC")]), (("is",), [])]
    out = tmp_path / "numbers.jsonl"
    convert(write("w.txt", "Paris\tB-LOC\nis\tO\n"), out, read_as="conll", write_as="huggingface", options=names)
    assert json.loads(out.read_text())["ner_tags"] == [3, 0]
    with pytest.raises(InputError, match="B-ORG is not among"):
        convert(write("w.txt", "Intel\tB-ORG\n"), out, read_as="conll", write_as="huggingface", options=names)


def test_prodigy_keeps_what_was_accepted(write, tmp_path):
    span = {"start": 0, "end": 5, "label": "LOC", "token_start": 0, "token_end": 0}
    rows = [{"text": "Paris is", "spans": [span], "answer": answer} for answer in ("accept", "reject", "ignore")]
    posts, done = read(write("p.jsonl", jsonl(rows)), "prodigy", tmp_path)
    assert [entities_of(p) for p in posts] == [[(0, 5, "LOC")]]
    assert sum(done.not_read.values()) == 2


def test_brat_lines_that_are_no_entities_are_counted(tmp_path, write):
    folder = tmp_path / "brat"
    folder.mkdir()
    (folder / "d1.txt").write_bytes(b"Paris\r\nis big")
    marks = "T1\tLOC 0 5\tParis\nT2\tX 0 5;7 9\tParis is\nR1\tIn Arg1:T1 Arg2:T2\n#1\tNote T1\tx\nT3\tY 7 9\tno\n"
    (folder / "d1.ann").write_text(marks)
    posts, done = read(folder, "brat", tmp_path)
    assert [(p.id, p.text, entities_of(p)) for p in posts] == [("d1", "Paris\r\nis big", [(0, 5, "LOC")])]
    assert done.not_read == {"entities in several parts": 1, "relations": 1, "notes": 1}
    assert [(Path(p.path).name, p.line) for p in done.problems] == [("d1.ann", 5)]
    posts, _ = read(folder / "d1.ann", "brat", tmp_path)
    assert entities_of(posts[0]) == [(0, 5, "LOC")]


def test_overlap_goes_where_it_can(write, tmp_path):
    spans = [(0, 8, "LOC"), (0, 13, "LOC"), (10, 13, "X")]
    rows = [{"text": "New York City", "entities": [{"start": a, "end": b, "label": x} for a, b, x in spans]}]
    path = write("o.jsonl", jsonl(rows))
    done = convert(path, tmp_path / "o.txt", read_as="jsonl", write_as="conll")
    assert done.not_written["entities that overlap another"] == 2
    assert done.not_written["ends of entities inside a word (widened to the word)"] == 1
    convert(path, tmp_path / "o.json", read_as="jsonl", write_as="gliner")
    assert json.loads((tmp_path / "o.json").read_text())[0]["ner"] == [[0, 1, "LOC"], [0, 2, "LOC"], [2, 2, "X"]]


@pytest.mark.parametrize("text", [TEXT, "  two  spaces \n\tand lines  ", "a", "", " ", "東京 と", "x y"])
def test_docbin_gives_back_every_character(text, write, tmp_path):
    pytest.importorskip("spacy", reason="spaCy is not installed")
    ends = [(a, b) for a in range(len(text)) for b in range(a + 1, len(text) + 1) if not text[a:b].isspace()][:40]
    rows = [{"text": text, "entities": [{"start": a, "end": b, "label": "X"}]} for a, b in ends] or [{"text": text}]
    made = tmp_path / "x.spacy"
    convert(write("t.jsonl", jsonl(rows)), made, read_as="jsonl", write_as="spacy")
    posts, _ = read(made, "spacy", tmp_path)
    assert [p.text for p in posts] == [text] * len(rows)
    assert [(p.entities[0].start, p.entities[0].end) for p in posts if p.entities] == ends


def test_spacy_itself_reads_what_is_written(write, tmp_path):
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
    from spacy.tokens import DocBin
    from spacy.training import Corpus, Example

    made, listed = tmp_path / "x.spacy", tmp_path / "x.json"
    convert(posts_file(write), made, read_as="jsonl", write_as="spacy")
    convert(posts_file(write), listed, read_as="jsonl", write_as="spacy-json")
    nlp = spacy.blank("en")
    docs = list(DocBin().from_disk(made).get_docs(nlp.vocab))
    assert [(e.text, e.label_) for e in docs[0].ents] == [("Zoë", "PER"), ("New York", "LOC")]
    assert len(list(Corpus(made)(nlp))) == 3  # what 'spacy train' reads
    for (text, about), expected in zip(json.loads(listed.read_text()), (2, 0, 0), strict=True):
        example = Example.from_dict(nlp.make_doc(text), about)
        assert len(example.reference.ents) == expected


def test_what_spacy_writes_is_read(tmp_path):
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
    from spacy.tokens import DocBin

    nlp = spacy.blank("en")
    doc = nlp("Tim Cook is in New York City")
    doc.set_ents([doc.char_span(0, 8, label="PER")])
    doc.spans["sc"] = [doc.char_span(15, 23, label="LOC"), doc.char_span(15, 28, label="LOC")]
    made = tmp_path / "theirs.spacy"
    DocBin(docs=[doc, nlp("no labels")]).to_disk(made)
    posts, _ = read(made, "spacy", tmp_path)
    assert [entities_of(p) for p in posts] == [[(0, 8, "PER"), (15, 23, "LOC"), (15, 28, "LOC")], None]
    listed = tmp_path / "doc.json"
    listed.write_text(json.dumps([doc.to_json()]))
    posts, _ = read(listed, "spacy-json", tmp_path)
    assert entities_of(posts[0]) == [(0, 8, "PER")]


def test_damaged_docbin_is_one_line(write, tmp_path):
    pytest.importorskip("spacy", reason="spaCy is not installed")
    with pytest.raises(InputError, match=r"not a \.spacy file"):
        read(write("x.spacy", b"x\x9cjunk"), "spacy", tmp_path)


def test_the_command(write, tmp_path):
    out = tmp_path / "posts.jsonl"
    path = write("d.jsonl", jsonl(DOCCANO))
    error = assert_refused(run("convert", path, "--from", "doccano", "--to", "jsonl", "--output", out), f"{path}:6:")
    assert "1 lines or entities could not be used" in error
    assert "1 relations" in error
    assert len(load_dataset(out).posts) == 6
    done = run("convert", out, "--from", "jsonl", "--to", "label-studio", "--output", tmp_path / "ls.json")
    assert done.returncode == 0, done.stderr
    assert b"6 posts" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "docano", "--to", "jsonl"], ["docano", "did you mean 'doccano'"]),
        (["--from", "doccano", "--to", "jsonl", "--offsets", "utf8"], ["utf8", "bytes"]),
        (["--from", "gliner", "--to", "jsonl", "--offsets", "bytes"], ["gliner has no offsets"]),
        (["--from", "doccano", "--to", "jsonl", "--class-names", "O,,B"], ["--class-names"]),
        (["--from", "prodigy", "--to", "jsonl"], ["holds no post", "is --from right?"]),
    ],
)
def test_wrong_usage(arguments, words, write, tmp_path):
    path = write("d.jsonl", '{"x": 1}\n')
    assert_refused(run("convert", path, *arguments, "--output", tmp_path / "o.jsonl"), *words)
    assert not (tmp_path / "o.jsonl").exists()


def test_a_missing_input_and_its_own_place(write, tmp_path):
    assert_refused(
        run("convert", tmp_path / "no.jsonl", "--from", "doccano", "--to", "jsonl", "--output", tmp_path / "o"),
        "no.jsonl",
    )
    path = write("d.jsonl", jsonl(DOCCANO))
    assert_refused(run("convert", path, "--from", "doccano", "--to", "jsonl", "--output", path), "--output")


@given(
    st.text(alphabet="ab 😀é\n\t", min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8), st.sampled_from("XY")), max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_text_formats_lose_nothing(tmp_path_factory, text, spans):
    folder = tmp_path_factory.mktemp("lossless")
    found = dict.fromkeys((a, min(a + n, len(text)), x) for a, n, x in spans if a < len(text))
    entities = tuple(LabelledSpan(start=a, end=b, label=x) for a, b, x in sorted(found, key=lambda e: (e[0], e[1])))
    path = folder / "p.jsonl"
    path.write_text(json.dumps({"id": "1", "text": text, "entities": [vars(e) for e in entities]}))
    for name in ("doccano", "prodigy", "label-studio", "label-studio-min", "spacy-json", "brat"):
        convert(path, folder / name, read_as="jsonl", write_as=name)
        convert(folder / name, folder / "b.jsonl", read_as=name, write_as="jsonl")
        (post,) = load_dataset(folder / "b.jsonl").posts
        assert (post.text, post.entities) == (text, entities), name
