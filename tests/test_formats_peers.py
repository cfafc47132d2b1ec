"""Other tools' own readers on what we write, and ours on what they write; each skips where its package is absent."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import jsonl
from found import predictions, write_found
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.entities import make_entity
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.registry import FORMATS, convert
from dpe_mner.types import Post, Prediction

TEXT = "😀 Zoë visits New York now"
ENTITIES = [(2, 5, "PER"), (13, 21, "LOC")]
DOCS = Path(__file__).parents[1] / "docs" / "formats.md"


@pytest.fixture
def posts(write):
    entities = [{"start": a, "end": b, "label": x} for a, b, x in ENTITIES]
    return write("p.jsonl", jsonl([{"id": "a", "text": TEXT, "entities": entities}, {"id": "b", "text": "no"}]))


def test_label_studios_converter_reads_ours_and_we_read_its(posts, tmp_path):
    peer = pytest.importorskip("label_studio_sdk.converter.converter", reason="label-studio-sdk is not installed")
    config = (
        '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
        '<Text name="text" value="$text"/></View>'
    )
    made = tmp_path / "ls.json"
    convert(posts, made, read_as="jsonl", write_as="label-studio")
    converter = peer.Converter(config, str(tmp_path))
    for kind, name in (("JSON", "label-studio"), ("JSON_MIN", "label-studio-min"), ("CONLL2003", "conll")):
        out = tmp_path / kind
        converter.convert(str(made), str(out), kind, is_dir=False)
        (theirs,) = [path for path in out.iterdir() if path.is_file()]
        back = tmp_path / f"{kind}.jsonl"
        done = convert(theirs, back, read_as=name, write_as="jsonl")
        assert done.problems == []
        post = load_dataset(back).posts[0]
        if name == "conll":
            covered = [(" ".join(post.words[e.start : e.end]), e.label) for e in post.entities]
            assert covered == [("Zoë", "PER"), ("New York", "LOC")]
        else:
            assert [(e.start, e.end, e.label) for e in post.entities] == ENTITIES


def test_label_studio_takes_our_predictions(posts, tmp_path):
    peer = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    config = (
        '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
        '<Text name="text" value="$text"/></View>'
    )
    words = words_of(Post(text=TEXT))
    found = [make_entity(words, 1, 1, "PER", 0.9), make_entity(words, 3, 4, "LOC", 0.25)]
    rows = [Prediction("a", TEXT, found).as_dict(), Prediction("b", "no", []).as_dict()]
    made = tmp_path / "found.jsonl"
    made.write_text(jsonl(rows), encoding="utf-8")
    tasks = tmp_path / "tasks.json"
    options = FormatOptions(posts=str(posts))
    convert(made, tasks, read_as="predictions", write_as="label-studio", options=options)
    interface = peer.LabelInterface(config)
    for task, count in zip(json.loads(tasks.read_text(encoding="utf-8")), (2, 0), strict=True):
        (said,) = task["predictions"]
        assert interface.validate_prediction(said, return_errors=True) == []
        assert len(said["result"]) == count
        wrong = {**said, "result": [{**result, "to_name": "image"} for result in said["result"]]}
        assert bool(interface.validate_prediction(wrong, return_errors=True)) == bool(count)


@pytest.mark.parametrize("name", ["turtle", "n-triples", "json-ld"])
@given(found=st.lists(predictions(grounded=True), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_strict_readers_of_graphs_agree_with_each_other(name, tmp_path_factory, found):
    """rdflib forgives what others refuse: strings that end in too many quotation marks, for one."""
    peer = pytest.importorskip("pyoxigraph", reason="pyoxigraph is not installed")
    folder = tmp_path_factory.mktemp("strict")
    posts, made = write_found(folder, found)
    options = FormatOptions(posts=str(posts), base="https://example.org/")
    kinds = {"turtle": "TURTLE", "n-triples": "N_TRIPLES", "json-ld": "JSON_LD"}
    triples = {}
    for each in {name, "n-triples"}:
        convert(made, folder / each, read_as="predictions", write_as=each, options=options)
        read = peer.parse(path=str(folder / each), format=getattr(peer.RdfFormat, kinds[each]))
        triples[each] = {tuple(map(comparable, (t.subject, t.predicate, t.object))) for t in read}
    assert triples[name] == triples["n-triples"]


def comparable(value):
    """A term; numbers by their value, for JSON-LD writes 0.5 as 5.0E-1."""
    kind = getattr(value, "datatype", None)
    return float(value.value) if kind is not None and kind.value.endswith("double") else str(value)


@given(found=st.lists(predictions(grounded=True), min_size=1, max_size=2))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pyld_reads_as_many_triples_as_there_are(tmp_path_factory, found):
    peer = pytest.importorskip("pyld.jsonld", reason="PyLD is not installed")
    folder = tmp_path_factory.mktemp("pyld")
    posts, made = write_found(folder, found)
    options = FormatOptions(posts=str(posts), base="https://example.org/")
    for each in ("json-ld", "n-triples"):
        convert(made, folder / each, read_as="predictions", write_as=each, options=options)
    read = peer.to_rdf(json.loads((folder / "json-ld").read_text(encoding="utf-8")))["@default"]
    assert len(read) == (folder / "n-triples").read_bytes().count(b" .\n")


def test_hugging_face_datasets_reads_ours(posts, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    made = tmp_path / "hf.jsonl"
    names = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    convert(posts, made, read_as="jsonl", write_as="huggingface", options=FormatOptions(class_names=names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = datasets.Dataset.from_json(str(made), cache_dir=str(tmp_path / "cache"))
        assert loaded[0]["tokens"] == ["😀", "Zoë", "visits", "New", "York", "now"]
        assert loaded[0]["ner_tags"] == [0, 1, 0, 3, 4, 0]
        theirs = tmp_path / "theirs.jsonl"
        loaded.to_json(theirs)
    back = tmp_path / "back.jsonl"
    convert(theirs, back, read_as="huggingface", write_as="jsonl", options=FormatOptions(class_names=names))
    first, second = load_dataset(back).posts
    assert [(e.start, e.end, e.label) for e in first.entities] == [(1, 2, "PER"), (3, 5, "LOC")]
    assert second.entities is None


def test_gliners_processor_reads_ours(posts, tmp_path):
    peer = pytest.importorskip("gliner.data_processing.processor", reason="gliner is not installed")
    made = tmp_path / "gliner.json"
    convert(posts, made, read_as="jsonl", write_as="gliner")
    example = json.loads(made.read_text(encoding="utf-8"))[0]
    processor = peer.UniEncoderSpanProcessor.__new__(peer.UniEncoderSpanProcessor)  # without downloading a tokenizer
    processor.config = SimpleNamespace(max_width=12, max_len=384)
    found = processor.preprocess_example(example["tokenized_text"], example["ner"], {"PER": 1, "LOC": 2})
    for label, span in ((1, [1, 1]), (2, [3, 4])):
        assert found["span_idx"][found["span_label"] == label].tolist() == [span]


def sections():
    """Name and example of every format in the documentation."""
    for name in FORMATS:
        section = re.search(
            rf"^## {name}\n(.*?)(?=^## |\Z)", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
        assert section, f"docs/formats.md has no section {name}"
        yield name, re.search(r"```\w*\n(.*?)```", section[1], re.DOTALL)[1]


@pytest.mark.parametrize(("name", "example"), list(sections()))
def test_the_examples_in_the_documentation_are_read(name, example, write, tmp_path):
    assert 3 <= len(example.splitlines()) <= (8 if name == "n-triples" else 4)
    if name == "displacy":
        with pytest.raises(InputError, match="nothing reads it"):
            convert(write("example", example), tmp_path / "back", read_as=name, write_as="jsonl")
        return
    if name in {"turtle", "n-triples", "json-ld"}:
        pytest.importorskip("rdflib", reason="rdflib is not installed")
    if name == "spacy":
        compile(example, "docs/formats.md", "exec")
        return
    write("d.txt", "Tim Cook is in Paris")
    path = write("d.ann" if name == "brat" else "example", example)
    done = convert(path, tmp_path / "back.jsonl", read_as=name, write_as="jsonl")
    assert done.problems == []
    assert load_dataset(tmp_path / "back.jsonl").labels
