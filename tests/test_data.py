"""Readers, words and offsets, tags, checks."""

from __future__ import annotations

import json

import pytest
from conftest import POSTS, conll, jsonl
from hypothesis import given
from hypothesis import strategies as st

from dpe_mner.data.check import check_dataset
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.gold import gold_characters, gold_words
from dpe_mner.data.tags import read_tags, write_tags
from dpe_mner.data.words import join_words, split_text, words_of
from dpe_mner.errors import InputError
from dpe_mner.types import LabelledSpan, Post


def spans(tags):
    return [(s.start, s.end, s.label) for s in read_tags(tags).spans]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], [(0, 2, "PER"), (3, 4, "LOC")]),  # IOB2
        (["I-PER", "I-PER", "B-PER", "O"], [(0, 2, "PER"), (2, 3, "PER")]),  # IOB
        (["B-PER", "E-PER", "S-LOC", "O"], [(0, 2, "PER"), (2, 3, "LOC")]),  # BIOES
        (["B-PER", "I-PER", "L-PER", "U-LOC"], [(0, 3, "PER"), (3, 4, "LOC")]),  # BILOU
        (["S-PER", "S-PER"], [(0, 1, "PER"), (1, 2, "PER")]),
        (["B-PER", "I-LOC", "I-LOC"], [(0, 1, "PER"), (1, 3, "LOC")]),
        (["O", "O"], []),
        ([], []),
    ],
)
def test_all_four_schemes_are_read(tags, expected):
    assert spans(tags) == expected


def test_orphan_inside_tags_open_an_entity_and_are_reported():
    reading = read_tags(["O", "I-LOC", "I-LOC", "O", "B-PER", "I-LOC"])
    assert [(s.start, s.end, s.label) for s in reading.spans] == [(1, 3, "LOC"), (4, 5, "PER"), (5, 6, "LOC")]
    assert reading.orphans == [1, 5]


flat_spans = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.sampled_from("AB")), max_size=6)


@given(flat_spans)
def test_written_tags_are_read_back(parts):
    position, expected = 0, []
    for length, gap, label in parts:
        position += gap
        expected.append(LabelledSpan(start=position, end=position + length, label=label))
        position += length
    assert read_tags(write_tags(expected, position + 1)).spans == expected


@given(st.text(max_size=200))
def test_words_of_any_text_are_its_own_slices(text):
    words = split_text(text)
    assert [text[a:b] for a, b in zip(words.starts, words.ends, strict=True)] == list(words.words)
    assert all(b <= c for b, c in zip(words.ends, words.starts[1:], strict=False))
    covered = (
        set().union(*(range(a, b) for a, b in zip(words.starts, words.ends, strict=True))) if len(words) else set()
    )
    assert all(text[k].isspace() for k in range(len(text)) if k not in covered)


@given(st.lists(st.text(max_size=8), max_size=12))
def test_given_words_keep_their_places(given_words):
    words = join_words(given_words)
    assert words.text == " ".join(given_words)
    assert [words.text[a:b] for a, b in zip(words.starts, words.ends, strict=True)] == given_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#NBA: Kawhi's", ["#", "NBA", ":", "Kawhi", "'", "s"]),
        ("a\u200bb", ["a\u200bb"]),
        ("👍🏽 🇺🇸 👩\u200d🚀", ["👍🏽", "🇺🇸", "👩\u200d🚀"]),
        ("مرحبا يا لندن", ["مرحبا", "يا", "لندن"]),
        ("e\u0301a", ["e\u0301a"]),
        ("東京と", ["東", "京", "と"]),
        ("", []),
        (" \t\n", []),
    ],
)
def test_text_is_split_as_the_corpora_are(text, expected):
    assert list(split_text(text).words) == expected


@given(st.data())
def test_gold_characters_and_words_agree(data):
    text = data.draw(st.text(alphabet="ab #é😀", min_size=1, max_size=30))
    words = split_text(text)
    if not len(words):
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    entity = LabelledSpan(start=words.starts[first], end=words.ends[last], label="X")
    post = Post(text=text, entities=(entity,))
    assert gold_words(post, words) == [(first, last, "X")]
    assert gold_characters(post, words) == {(entity.start, entity.end, "X")}


def test_conll_round_trip(write):
    data = load_dataset(write("train.txt", conll(POSTS)))
    assert [(p.id, tuple(p.words), tuple(p.entities)) for p in data.posts] == [
        (p.id, tuple(p.words), tuple(p.entities)) for p in POSTS
    ]
    assert data.problems == []
    assert data.labels == ["LOC", "PER", "MISC", "ORG"]


def test_conll_splits_at_the_tab_alone_and_needs_no_last_blank_line(write):
    data = load_dataset(write("x.txt", "IMGID:1\n\u00a0\tO\nParis\tB-LOC\r\n\nIMGID:2\nRome\tB-LOC"))
    assert [list(p.words) for p in data.posts] == [["\u00a0", "Paris"], ["Rome"]]
    assert data.posts[0].line == 1
    assert data.posts[1].line == 5


def test_conll_problems_carry_file_and_line(write):
    path = write("x.txt", "IMGID:1\na\tX-PER\nb\tI-LOC\n\nIMGID:2\n\nIMGID:3\nc\tO\n")
    data = load_dataset(path)
    assert [(p.kind, p.line) for p in data.problems] == [("bad-tag", 2), ("orphan-inside", 3), ("empty-post", 5)]
    assert str(data.problems[0]).startswith(f"{path}:2: ")
    assert [p.id for p in data.posts] == ["1", "3"]


def test_conll_without_tags_is_unlabelled(write):
    data = load_dataset(write("x.txt", "IMGID:1\nParis\nis\n"))
    assert data.posts[0].entities is None
    assert list(data.posts[0].words) == ["Paris", "is"]


def test_jsonl_bad_lines_are_reported_and_the_others_read(write):
    rows = [
        b'{"id": "1", "text": "Paris", "entities": [{"start": 0, "end": 5, "label": "LOC"}]}',
        b"{not json",
        b'{"id": "3", "text": "\xff"}',
        b'["list"]',
        b'{"id": "5"}',
        b'{"id": "6", "text": "x", "entities": [{"start": 0, "end": 9, "label": "LOC"}]}',
        b'{"id": "7", "words": ["a", 1]}',
        b'{"id": "8", "words": ["a", ""], "tags": ["x"], "caption": "c"}',
    ]
    data = load_dataset(write("x.jsonl", b"\n".join(rows) + b"\n"))
    assert [p.id for p in data.posts] == ["1", "8"]
    assert [(p.line, p.kind) for p in data.problems] == [
        (2, "bad-json"),
        (3, "not-utf8"),
        (4, "bad-json"),
        (5, "bad-post"),
        (6, "bad-post"),
        (7, "bad-post"),
    ]


def test_visual_text_joins_by_id_and_a_posts_own_wins(write):
    visual = write(
        "v.jsonl", jsonl([{"image_id": "1", "caption": "joined", "other": 1}, {"image_id": 2, "tags": ["t"]}])
    )
    rows = [{"id": "1", "text": "a"}, {"id": "2", "text": "b", "caption": "own"}, {"id": "3", "text": "c"}]
    posts = load_dataset(write("x.jsonl", jsonl(rows)), visual_text=visual).posts
    assert [(p.caption, p.tags) for p in posts] == [("joined", None), ("own", ("t",)), (None, None)]


def test_labels_are_mapped(write):
    path = write(
        "x.jsonl", jsonl([{"id": "1", "words": ["a"], "entities": [{"start": 0, "end": 1, "label": "OTHER"}]}])
    )
    assert load_dataset(path, label_map={"OTHER": "MISC"}).labels == ["MISC"]


@pytest.mark.parametrize("content", ["", "\n\n", "IMGID:1\n"])
def test_empty_files_are_one_clear_line(write, content):
    with pytest.raises(InputError, match="holds no post"):
        load_dataset(write("x.txt", content))


def test_missing_file_and_folder_are_clear(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="is a folder"):
        load_dataset(tmp_path)


def test_check_finds_everything(write, tmp_path):
    label = [{"start": 0, "end": 1, "label": "PER"}]
    rows = [
        {"id": str(k), "text": f"a{k} b", "entities": [{"start": 0, "end": len(f"a{k}"), "label": "PER"}]}
        for k in range(60)
    ]
    rows += [
        {"id": "0", "text": "again c", "entities": []},
        {"id": "typo", "words": ["t", "u"], "entities": [{"start": 0, "end": 1, "label": "PRE"}]},
        {"id": "overlap", "words": ["o", "p"], "entities": [*label, {"start": 0, "end": 2, "label": "PER"}]},
        {"id": "cut", "text": "London", "entities": [{"start": 0, "end": 3, "label": "PER"}]},
        {"id": "gone", "text": "gone q", "image": "gone.jpg"},
        {"id": "zero", "text": "zero q", "image": "zero.jpg"},
        {"id": "same", "text": "a1 b", "entities": []},
    ]
    (tmp_path / "zero.jpg").write_bytes(b"")
    path = write("x.jsonl", jsonl(rows) + "{bad\n")
    visual = write(
        "v.jsonl", jsonl([{"image_id": "0", "caption": "x"}, {"image_id": "nobody", "caption": "y"}, {"image_id": "v"}])
    )
    other = write("valid.jsonl", jsonl([{"id": "v", "text": "A5 B"}]))
    _, problems = check_dataset(path, visual_text=visual, against=other)
    found = {(p.kind, p.line) for p in problems}
    assert found == {
        ("bad-json", 68),
        ("duplicate-id", 61),
        ("label-typo", 62),
        ("overlap", 63),
        ("cuts-word", 64),
        ("picture", 65),
        ("picture", 66),
        ("unlabelled", 65),
        ("unlabelled", 66),
        ("duplicate-text", 67),
        ("visual-text-without-post", 2),
        ("leakage", 6),
    }


def test_check_is_silent_on_clean_data(write):
    _, problems = check_dataset(write("train.txt", conll(POSTS)))
    assert problems == []


def test_hash_names_the_bytes(write):
    import hashlib

    path = write("train.txt", conll(POSTS))
    assert load_dataset(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_json_lines_keep_unicode(write):
    text = "Zoë 😀 in \u200f‏مكة"
    path = write("x.jsonl", json.dumps({"id": "1", "text": text}, ensure_ascii=False) + "\n")
    assert load_dataset(path).posts[0].text == text
    assert words_of(load_dataset(path).posts[0]).text == text
