"""Every reader on whatever bytes come: posts, problems or one clear error; never a crash, never a hang."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpe_mner.data.check import check_dataset
from dpe_mner.data.columns import Columns
from dpe_mner.data.conll import read_conll
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.data.jsonl import read_posts_jsonl, read_visual_text
from dpe_mner.errors import InputError
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.registry import FORMATS, convert

SECONDS = 5.0  # for one small file, on a busy machine
FAST, SLOW = 300, 50_000
LINES = st.sampled_from(
    [
        "",
        " ",
        "\t",
        "IMGID:1",
        "IMGID:",
        "imgid : x",
        "-DOCSTART- -X- O",
        "# id = 4",
        "# a comment",
        "#\tO",
        "#NBA B-X",
        "Intel\tB-ORG",
        "rose\tO",
        "Paris NNP B-LOC",
        "New York I-LOC",
        "word",
        "\u00a0\tO",
        "\tO",
        "a\tB-",
        "x\ty\tz\tO",
        "\ufeffIMGID:2",
        "a\rb",
        "word,tag",
        "Paris,B-LOC",
        "text;label",
        "{",
        "}",
        "[",
        "]",
        ",",
        '{"text": "a"}',
        "\0",
        '{"id": 1, "text": "Paris", "label": [[0, 5, "LOC"]]},',
        '["Paris", {"entities": [[0, 5, "LOC"]]}]',
        "T1\tLOC 0 5\tx",
        '{"tokens": ["a"], "ner_tags": ["B-X"]}',
        '{"tokenized_text": ["a"], "ner": [[0, 0, "X"]]}',
        "<?xml",
        '{"a": 1, "a": 2}',
        '{"data": {"text": "a"}, "annotations": [{"result": [{"value": {"start": 0, "end": 1, "labels": ["X"]}}]}]}',
        '{"text": "a", "spans": [{"start": 0, "end": 1, "label": "X"}]}',
        '{"image_id": "1", "caption": "c"}',
        "NaN",
        "1e999",
    ]
)
KEYS = st.sampled_from(
    "id text words entities start end label labels spans tokens ner_tags tokenized_text ner data annotations result "
    "value start_offset end_offset caption tags image image_id answer meta paragraphs sentences orth rows row "
    "predictions relations completions ents classes".split()
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["B-X", "O", "Paris"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(LINES, max_size=12).map(lambda lines: "\n".join(lines).encode()),
    st.lists(LINES, max_size=12).map(lambda lines: "\r\n".join(lines).encode("utf-8-sig")),
    VALUES.map(lambda value: json.dumps(value).encode()),
    VALUES.map(lambda value: json.dumps(value, indent=1).encode()),
    st.lists(VALUES, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
)
OURS = ("load", "check", "conll", "jsonl", "visual")
READERS = [*OURS, *(name for name in FORMATS if name != "spacy")]


def read(reader: str, path, folder) -> None:
    if reader == "load":
        gold_of_posts(load_dataset(path).posts)
    elif reader == "check":
        check_dataset(path, visual_text=path)
    elif reader == "conll":
        list(read_conll(path, [], columns=Columns(word=2, tag=1)))
    elif reader == "jsonl":
        list(read_posts_jsonl(path, []))
    elif reader == "visual":
        read_visual_text(path, [])
    else:
        if reader == "brat":  # the same bytes as text and as marks
            path.with_suffix(".ann").write_bytes(path.read_bytes())
        try:
            for target in ("jsonl", "conll", "label-studio"):
                convert(
                    path, folder / f"out-{target}", read_as=reader, write_as=target,
                    options=FormatOptions(class_names=("O", "B-X")),
                )  # fmt: skip
        finally:
            path.with_suffix(".ann").unlink(missing_ok=True)


def try_reader(reader: str, content: bytes, ending: str, folder) -> None:
    path = folder / f"x{ending}"
    path.write_bytes(content)
    started = time.monotonic()
    with suppress(InputError):
        read(reader, path, folder)
    assert time.monotonic() - started < SECONDS


def fuzz(reader: str, count: int, folder) -> None:
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=CONTENTS, ending=st.sampled_from([".txt", ".json", ".jsonl", ""]))
    def run(content, ending):
        try_reader(reader, content, ".txt" if reader == "brat" else ending, folder)

    run()


@pytest.mark.parametrize("reader", READERS)
def test_readers_survive_anything(reader, tmp_path):
    fuzz(reader, FAST // len(READERS), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_readers_survive_fifty_thousand_files(reader, tmp_path):
    fuzz(reader, SLOW // len(READERS) + 1, tmp_path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "content", [b"[" * 20000, b'{"a":' * 20000, b"a " * 50000, b"{\n" * 5000, b"[\n" * 5000], ids=len
)
def test_deep_and_long_files_do_not_hang(reader, content, tmp_path):
    try_reader(reader, content, ".txt" if reader == "brat" else ".json", tmp_path)


def test_a_docbin_of_any_bytes_is_refused_in_one_line(tmp_path):
    pytest.importorskip("spacy", reason="spaCy is not installed")
    draw = random.Random(0)
    for length in (0, 1, 2, 10, 100):
        try_reader("spacy", b"x\x9c"[:length] + draw.randbytes(length), ".spacy", tmp_path)
