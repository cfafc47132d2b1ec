"""The task of transformers' pipelines: the answers of ``predict``, in the shape that those pipelines give."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from conftest import POSTS
from test_tables import Table
from transformers import pipeline

import dpe_mner
import dpe_mner.integrations.transformers_pipeline as module
from dpe_mner.errors import InputError
from dpe_mner.types import Post

ROOT = Path(__file__).parents[1]
TEXTS = [" ".join(post.words) for post in POSTS]


@pytest.fixture(scope="module")
def model(saved_model):
    model = dpe_mner.load(saved_model)
    model.configure(decision={"threshold": 0.0})  # a random model is sure of nothing
    return model


@pytest.fixture(scope="module")
def pipe(model):
    return pipeline("dpe-mner", model=model, device="cpu")


def shaped(entities):
    return [
        {
            "entity_group": e.label, "score": e.score, "word": e.text, "start": e.start, "end": e.end,
            "word_start": e.word_start, "word_end": e.word_end,
        }
        for e in entities
    ]  # fmt: skip


def test_one_text_is_answered_as_by_the_model(pipe, model):
    found = pipe(TEXTS[0])
    assert found == shaped(model.predict(TEXTS[0]))
    assert found
    assert {type(entity["score"]) for entity in found} == {float}
    assert all(TEXTS[0][entity["start"] : entity["end"]] == entity["word"] for entity in found)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_lists_in_any_batch(pipe, model, batch_size):
    expected = [shaped(entities) for entities in model.predict(TEXTS)]
    assert pipe(TEXTS, batch_size=batch_size) == expected
    assert pipe([{"text": text} for text in TEXTS], batch_size=batch_size) == expected
    assert pipe([]) == []


def test_what_comes_with_a_picture_is_read(pipe, model):
    post = {"text": TEXTS[1], "caption": POSTS[1].caption, "tags": ["person", "glass"]}
    expected = shaped(model.predict(TEXTS[1], caption=post["caption"], tags=post["tags"]))
    assert pipe(post) == pipe(Post(**post)) == pipe([post])[0] == expected
    assert expected != pipe(TEXTS[1])
    assert pipe({"words": list(POSTS[0].words)}) == shaped(model.predict(Post(words=POSTS[0].words)))


def test_an_unused_picture_is_warned_of(pipe):
    with pytest.warns(UserWarning, match=r"post 0: a\.jpg: picture not used"):
        assert pipe({"text": TEXTS[0], "image": "a.jpg"}) == pipe(TEXTS[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pipe(["", TEXTS[0]])[0] == []


def test_generators_tables_and_data_sets_are_answered_bit_by_bit(pipe, model):
    expected = [shaped(entities) for entities in model.predict(TEXTS)]
    read = []

    def texts():
        for text in TEXTS:
            read.append(text)
            yield text

    answers = pipe(texts(), batch_size=2)
    assert next(answers) == expected[0]
    assert read == TEXTS[:2]
    assert [expected[0], *answers] == expected
    assert list(pipe(Table([{"text": text} for text in TEXTS]))) == expected

    class Texts(torch.utils.data.Dataset):
        def __len__(self):
            return len(TEXTS)

        def __getitem__(self, k):
            return TEXTS[k % len(TEXTS)]  # never an IndexError

    assert list(pipe(Texts(), batch_size=3)) == expected


def test_choices_of_a_call_and_of_all_calls(model, pipe):
    other = pipeline("dpe-mner", model=model, device="cpu", steps=1, seed=5)
    assert other(TEXTS) == [shaped(entities) for entities in model.predict(TEXTS, steps=1, seed=5)]
    assert other(TEXTS, steps=3, seed=0) == pipe(TEXTS, steps=3)
    explained = pipe(TEXTS[0], explain=True)
    whole = model.predict(TEXTS[0], explain=True)
    assert explained == {**whole.as_dict(explain=True), "entities": shaped(whole.entities)}


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"seed": -1}, "seed must be"),
        ({"stepps": 2}, "did you mean 'steps'"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_wrong_choices_are_one_line(pipe, model, choices, words):
    with pytest.raises(InputError, match=words):
        pipe(TEXTS[0:1], **choices)
    if "batch_size" not in choices:
        with pytest.raises(InputError, match=words):
            pipeline("dpe-mner", model=model, device="cpu", **choices)


@pytest.mark.parametrize(("post", "words"), [({"sentence": "x"}, "post 0: has neither 'text'"), (3, "not int")])
def test_what_is_no_post_is_one_line(pipe, post, words):
    with pytest.raises(InputError, match=words):
        pipe(post)


def test_a_saved_folder_is_a_model_and_a_pipeline_is_saved_as_one(saved_model, tmp_path):
    expected = [shaped(entities) for entities in dpe_mner.load(saved_model).predict(TEXTS)]
    loaded = pipeline("dpe-mner", model=saved_model, device="cpu")
    assert loaded(TEXTS) == expected
    assert "DPEMNERModel" in repr(loaded)
    loaded.save_pretrained(tmp_path / "saved")
    assert pipeline("dpe-mner", model=tmp_path / "saved", device="cpu")(TEXTS) == expected
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} <= {".json", ".safetensors", ".md", ".txt"}


def test_precision_is_the_loaders_to_choose(saved_model):
    assert pipeline("dpe-mner", model=saved_model, device="cpu").model.dtype == torch.float32
    half = pipeline("dpe-mner", model=saved_model, device="cpu", dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16


def test_a_damaged_checkpoint_is_one_line(saved_model, tmp_path):
    (tmp_path / "config.json").write_text((Path(saved_model) / "config.json").read_text())
    with pytest.raises(InputError) as caught:
        pipeline("dpe-mner", model=str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="takes a DPEMNERModel"):
        pipeline("dpe-mner", model=object())


def test_picture_models_are_named_as_for_loading(model, monkeypatch):
    named = []
    monkeypatch.setattr(type(model), "use_pictures", lambda self, *, models: named.append(models))
    pipeline("dpe-mner", model=model, device="cpu", picture_models={"caption": "folder"})
    assert named == [{"caption": "folder"}]


def test_one_import_makes_the_task_known():
    script = (
        "from transformers.pipelines import get_supported_tasks\n"
        "assert 'dpe-mner' not in get_supported_tasks()\n"
        f"import {module.__name__}\n"
        "print('dpe-mner' in get_supported_tasks())\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert shown.stdout == "True\n", shown.stderr


def test_the_page_of_documentation_prints_what_it_says():
    page = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
    code, printed = re.search(r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", page, re.DOTALL).groups()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(code, {})
    assert shown.getvalue() == printed
    assert set(module._CHOICES) <= set(re.findall(r"`(\w+)`", page))
