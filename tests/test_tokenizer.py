"""A checkpoint's tokenizer without transformers: the same pieces, and files that transformers reads."""

from __future__ import annotations

import json

import pytest
from conftest import byte_tokenizer, wordpiece_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from dpe_mner import InputError
from dpe_mner.representations.tokenizer import PlainTokenizer, checkpoint_tokenizer

KINDS = {"lower": lambda: wordpiece_tokenizer(lower=True), "bytes": byte_tokenizer}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for kind, make in KINDS.items():
        made[kind] = tmp_path_factory.mktemp(kind)
        make().save_pretrained(made[kind])
    return made


@pytest.mark.parametrize("kind", list(KINDS))
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_pieces_are_those_of_transformers(folders, kind, texts):
    plain, theirs = checkpoint_tokenizer(folders[kind]), AutoTokenizer.from_pretrained(folders[kind])
    assert isinstance(plain, PlainTokenizer)
    for special in (True, False):
        ids = [list(row) for row in theirs(texts, add_special_tokens=special)["input_ids"]]
        assert plain(texts, add_special_tokens=special)["input_ids"] == ids
        assert plain(texts[0], add_special_tokens=special)["input_ids"] == ids[0]


@pytest.mark.parametrize("kind", list(KINDS))
def test_special_pieces_and_saved_files_are_those_of_transformers(folders, kind, tmp_path):
    plain, theirs = checkpoint_tokenizer(folders[kind]), AutoTokenizer.from_pretrained(folders[kind])
    plain.save_pretrained(tmp_path / "again")
    for again in (AutoTokenizer.from_pretrained(tmp_path / "again"), checkpoint_tokenizer(tmp_path / "again"), plain):
        for name in ("pad_token_id", "unk_token_id", "mask_token_id"):
            assert getattr(again, name) == getattr(theirs, name) is not None
        assert again("Kevin wins")["input_ids"] == theirs("Kevin wins")["input_ids"]


def test_truncation_and_padding_kept_in_the_file_are_not_applied(folders, tmp_path):
    tokenizer = wordpiece_tokenizer(lower=True)
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=40)
    tokenizer.save_pretrained(tmp_path)
    assert (
        checkpoint_tokenizer(tmp_path)("Kevin")["input_ids"]
        == checkpoint_tokenizer(folders["lower"])("Kevin")["input_ids"]
    )


def test_special_pieces_may_be_described_at_length(folders, tmp_path):
    wordpiece_tokenizer(lower=True).save_pretrained(tmp_path)
    description = json.loads((tmp_path / "tokenizer_config.json").read_text())
    description["unk_token"] = {"content": "[UNK]", "lstrip": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(description))
    assert checkpoint_tokenizer(tmp_path).unk_token_id == checkpoint_tokenizer(folders["lower"]).unk_token_id


def test_a_damaged_file_is_one_line(tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("{")
    with pytest.raises(InputError, match="no usable tokenizer") as caught:
        checkpoint_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
