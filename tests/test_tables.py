"""Tables of the datasets library where posts are predicted or scored."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import jsonl

import dpe_mner
from dpe_mner.data.inputs import as_posts, is_table
from dpe_mner.data.labels import LabelRules
from dpe_mner.data.table import dataset_of_table, posts_of_table
from dpe_mner.errors import InputError
from dpe_mner.types import LabelledSpan

NAMES = ["O", "B-PER", "I-PER", "B-LOC"]
TOKENS = ["Tim", "Cook", "in", "Paris"]
CONLL = {"id": "7", "tokens": TOKENS, "ner_tags": [1, 2, 0, 3]}
GOLD = (LabelledSpan(start=0, end=2, label="PER"), LabelledSpan(start=3, end=4, label="LOC"))


class Table(list):
    """Rows with what a ``datasets.Dataset`` tells of them."""

    def __init__(self, rows, names=()) -> None:
        super().__init__(rows)
        self.column_names = sorted({key for row in rows if isinstance(row, dict) for key in row})
        self.features = {"ner_tags": SimpleNamespace(feature=SimpleNamespace(names=list(names)))} if names else None


def only(row, names=()):
    (post,) = posts_of_table(Table([row], names))
    return post


def test_rows_are_posts():
    row = {"text": "Tim in Paris", "image": "a.jpg", "caption": "a man", "tags": ["man"], "id": 3, "other": 1}
    post = only(row)
    assert (post.id, post.text, post.image, post.caption, list(post.tags)) == (
        "3", "Tim in Paris", "a.jpg", "a man", ["man"],
    )  # fmt: skip
    assert post.entities is None
    assert only({"text": "x", "caption": None, "tags": None}).id == "0"


def test_tags_of_tokens_are_named_by_the_features():
    post = only(CONLL, NAMES)
    assert (list(post.words), post.entities) == (TOKENS, GOLD)
    assert only({**CONLL, "ner_tags": [NAMES[k] for k in CONLL["ner_tags"]]}).entities == GOLD
    assert list(only({**CONLL, "text": "Tim Cook in Paris"}, NAMES).words) == TOKENS
    assert only({"tokens": TOKENS, "text": "Tim Cook in Paris"}).text == "Tim Cook in Paris"


@pytest.mark.parametrize("columns", [False, True])
def test_entities_as_in_posts_as_json(columns):
    entities = {"start": [0, 12], "end": [8, 17], "label": ["PER", "LOC"]}
    if not columns:
        entities = [dict(zip(entities, items, strict=True)) for items in zip(*entities.values(), strict=True)]
    post = only({"text": "Tim Cook in Paris", "entities": entities})
    assert [(e.start, e.end, e.label) for e in post.entities] == [(0, 8, "PER"), (12, 17, "LOC")]


def test_pictures_that_were_not_decoded():
    assert only({"text": "x", "image": {"bytes": b"\x89PNG", "path": "a.png"}}).image == b"\x89PNG"
    assert only({"text": "x", "image": {"bytes": None, "path": "a.png"}}).image == "a.png"
    assert only({"text": "x", "image": None}).image is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"sentence": "x"}, "has neither 'text' nor 'words' nor 'tokens', but sentence"),
        ({"text": 3}, "'text' must be a string"),
        ("a text", "is str, not a row"),
        ({**CONLL, "ner_tags": [1]}, "1 ner_tags for 4 tokens"),
        ({**CONLL, "ner_tags": [1, 2, 0, 9]}, "ner_tags has 9"),
        ({"text": "x", "entities": [{"start": 0, "end": 5, "label": "X"}]}, "needs 0 <= start < end <= 1"),
    ],
)
def test_a_row_that_is_no_post_is_named(row, words):
    with pytest.raises(InputError, match="row 1 of the Table: ") as caught:
        list(posts_of_table(Table([{"text": "fine"}, row], NAMES)))
    assert words in str(caught.value)


def test_numbers_without_names_are_refused():
    with pytest.raises(InputError, match="cast it to a ClassLabel"):
        only(CONLL)


def test_a_table_is_several_posts():
    posts, single = as_posts(Table([{"text": "one"}]))
    assert ([post.text for post in posts], single) == (["one"], False)
    assert not is_table([{"text": "one"}])
    assert not is_table({"text": "one"})


def test_a_data_set_of_a_table(tmp_path):
    rules = LabelRules({"LOC": "PLACE"}, ["PER"])
    table = Table([CONLL, {**CONLL, "id": "8"}], NAMES)
    data = dataset_of_table(table, visual_text=None, images=None, labels=rules)
    assert [post.id for post in data.posts] == ["7", "8"]
    assert data.labels == ["PLACE"]
    again = dataset_of_table(Table([CONLL, {**CONLL, "id": "8"}], NAMES), visual_text=None, images=None, labels=rules)
    assert data.sha256 == again.sha256
    other = dataset_of_table(Table([CONLL], NAMES), visual_text=None, images=None, labels=rules)
    assert data.sha256 != other.sha256
    with pytest.raises(InputError, match="has no row"):
        dataset_of_table(Table([]), visual_text=None, images=None, labels=rules)


def test_predicted_and_scored_as_posts_are():
    model = dpe_mner.load(backend="onnx")
    rows = Table([{"text": "Kevin Durant enters Oracle Arena"}, {"text": "good morning from Paris"}])
    assert model.predict(rows) == model.predict([row["text"] for row in rows])
    report = dpe_mner.evaluate(Table([CONLL], NAMES), model=model)
    assert report.as_dict()["posts"] == 1
    with pytest.raises(InputError, match="no labels"):
        dpe_mner.evaluate(rows, model=model)


def test_a_real_table_of_the_library(write, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def table_of(name, row, features=None):
        path = str(write(name, jsonl([row])))
        return datasets.Dataset.from_json(path, features=features, cache_dir=str(tmp_path / "cache"))

    strings = datasets.Value("string")
    tags = datasets.Sequence(datasets.ClassLabel(names=NAMES))
    features = datasets.Features({"id": strings, "tokens": datasets.Sequence(strings), "ner_tags": tags})
    table = table_of("tokens.jsonl", CONLL, features)
    for each in (table, table.with_format("numpy"), table.to_iterable_dataset()):
        assert is_table(each)
        (post,) = posts_of_table(each)
        assert (post.id, list(post.words), post.entities) == ("7", TOKENS, GOLD)
    entities = [{"start": 0, "end": 8, "label": "PER"}]
    (post,) = posts_of_table(table_of("text.jsonl", {"text": "Tim Cook", "entities": entities}))
    assert post.entities == (LabelledSpan(start=0, end=8, label="PER"),)
    assert not is_table(datasets.DatasetDict({"train": table}))
