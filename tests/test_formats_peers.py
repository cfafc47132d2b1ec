"""Other tools' own readers on what we write, and ours on what they write; each skips where its package is absent."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import jsonl

from dpe_mner.data.dataset import load_dataset
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.registry import FORMATS, convert

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
    assert 3 <= len(example.splitlines()) <= 4
    if name == "spacy":
        compile(example, "docs/formats.md", "exec")
        return
    write("d.txt", "Tim Cook is in Paris")
    path = write("d.ann" if name == "brat" else "example", example)
    done = convert(path, tmp_path / "back.jsonl", read_as=name, write_as="jsonl")
    assert done.problems == []
    assert load_dataset(tmp_path / "back.jsonl").labels
