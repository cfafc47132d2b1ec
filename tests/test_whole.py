"""A checkpoint is whole or refused, by both runtimes; what is saved appears whole or not at all."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import POSTS
from safetensors.torch import load_file, save_file

import dpe_mner
from dpe_mner import DPEMNERModel, InputError, OnnxModel, load
from dpe_mner.baselines.checkpoint import load_weights
from dpe_mner.checkpoints.hub import bundled_folder
from dpe_mner.checkpoints.loading import save_checkpoint
from dpe_mner.checkpoints.whole import check_finite, replaced_together

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def copy(saved_model, tmp_path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "copy"))


@pytest.fixture
def light(tmp_path) -> Path:
    """The bundled folder, its files by reference."""
    folder = tmp_path / "light"
    folder.mkdir()
    for path in bundled_folder().iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def emptied(tokenizer: bytes) -> bytes:
    """A tokenizer with its special pieces and nothing else."""
    values = json.loads(tokenizer)
    pieces = values["model"]["vocab"]
    values["model"]["vocab"] = {piece: i for piece, i in pieces.items() if piece in SPECIAL}
    return json.dumps(values).encode()


def changed(weights: Path, change) -> None:
    values = {name: value.clone() for name, value in load_file(weights).items()}
    change(values)
    rewrite(weights, b"")
    save_file(values, weights, metadata={"format": "pt"})


def refused(folder: Path, match: str | None = None, backend: str = "torch") -> None:
    with pytest.raises(InputError, match=match) as caught:
        load(str(folder), backend=backend)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_lacking_any_file_is_refused(copy, name):
    (copy / name).unlink()
    refused(copy, name.replace(".", r"\."))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 1, 100])
def test_a_checkpoint_with_any_file_cut_off_is_refused(copy, name, keep):
    rewrite(copy / name, (copy / name).read_bytes()[:keep])
    refused(copy)


@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b'{"a": ' * 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_description_of_something_else_is_refused(copy, name, content):
    rewrite(copy / name, content)
    refused(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_wherever_they_are(copy, value):
    def spoil(values):
        values["network.heads.types.weight"].view(-1)[-1] = value

    changed(copy / "model.safetensors", spoil)
    refused(copy, r"network\.heads\.types\.weight holds values that are no numbers")
    with pytest.raises(InputError, match="no numbers"):
        check_finite(copy / "model.safetensors")


def test_weights_of_nothing_but_nan_or_zero_are_refused(copy):
    original = (copy / "model.safetensors").read_bytes()
    for value, match in ((float("nan"), "no numbers"), (0.0, "all weights are zero")):
        rewrite(copy / "model.safetensors", original)
        changed(copy / "model.safetensors", lambda values, value=value: [v.fill_(value) for v in values.values()])
        refused(copy, match)
        with pytest.raises(InputError, match=match):
            check_finite(copy / "model.safetensors")


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_the_check_without_pytorch_reads_every_kind_of_weight(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    good = torch.tensor([1.0, -2.0, 0.0, torch.finfo(kind).max], dtype=kind)
    save_file({"a": good, "count": torch.tensor([-1])}, path)
    check_finite(path)
    for value in (float("nan"), float("-inf")):
        save_file({"a": good, "b": torch.tensor([0, value], dtype=kind)}, path)
        with pytest.raises(InputError, match="b holds values"):
            check_finite(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        check_finite(path)


def test_weights_of_another_kind_are_refused(copy):
    changed(
        copy / "model.safetensors",
        lambda v: v.update({"network.heads.types.weight": v["network.heads.types.weight"].long()}),
    )
    refused(copy, "mismatched")


def test_a_tokenizer_of_another_size_is_refused(copy):
    rewrite(copy / "tokenizer.json", emptied((copy / "tokenizer.json").read_bytes()))
    refused(copy, "tokenizer knows 5 pieces and the model 193")
    config = json.loads((copy / "config.json").read_text())
    del config["vocabulary_size"]  # as older versions wrote it
    (copy / "config.json").write_text(json.dumps(config))
    refused(copy, "tokenizer knows 5 pieces and the encoder 193")


def test_an_older_checkpoint_that_does_not_say_its_vocabulary_loads(copy, saved_model):
    config = json.loads((copy / "config.json").read_text())
    assert config.pop("vocabulary_size") == 193
    (copy / "config.json").write_text(json.dumps(config))
    assert load(str(copy)).predict(POSTS) == load(saved_model).predict(POSTS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", "PERLOC"),
        ("labels", [1, 2]),
        ("encoder", [1]),
        ("encoder", {"model_type": "bert", "hidden_size": "x"}),
    ],
)
def test_a_configuration_that_describes_no_model_is_refused(copy, key, value):
    config = json.loads((copy / "config.json").read_text())
    config[key] = value if not isinstance(value, dict) else {**config[key], **value}
    (copy / "config.json").write_text(json.dumps(config))
    refused(copy, r"config\.json")
    with pytest.raises(InputError):
        DPEMNERModel.from_pretrained(copy)


def test_damaged_shards_are_refused(saved_model, tmp_path):
    load(saved_model).save_pretrained(tmp_path, max_shard_size="40KB")
    index = tmp_path / "model.safetensors.index.json"
    kept = index.read_bytes()
    for content in (b"{", b"{}", b'{"weight_map": [1]}'):
        index.write_bytes(content)
        refused(tmp_path, r"index\.json")
    index.write_bytes(kept)
    next(tmp_path.glob("model-*-of-*.safetensors")).unlink()
    refused(tmp_path, "no model-0")


def test_an_int8_model_is_not_saved_and_leaves_what_was_there(saved_model, copy, tmp_path):
    model = load(saved_model, int8=True)
    for folder in (tmp_path / "new", copy):
        with pytest.raises(InputError, match="int8 model cannot be"):
            model.save_pretrained(folder)
    assert not (tmp_path / "new").exists()
    assert load(str(copy)).predict(POSTS) == load(saved_model).predict(POSTS)


def test_weights_that_could_not_be_loaded_are_not_saved(build, tmp_path):
    model = build()
    with torch.no_grad():
        model.network.heads.types.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="not saved: network"):
        model.save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_is_too_large_for_half_precision_stays_whole(build, tmp_path):
    model = build()
    with torch.no_grad():
        model.network.heads.types.weight[0, 0] = 1e6
    save_checkpoint(model, tmp_path, half=True)
    assert load(str(tmp_path)).network.heads.types.weight[0, 0] == 1e6
    assert load_file(tmp_path / "model.safetensors")["network.top.span_gate.gate.weight"].dtype == torch.float16


@pytest.mark.parametrize("failing", ["weights", "tokenizer", "config"])
def test_a_save_that_fails_leaves_the_old_checkpoint(copy, build, monkeypatch, failing):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    model = build()

    def fail(*given, **named):
        raise OSError(28, "No space left on device")

    if failing == "weights":
        monkeypatch.setattr("huggingface_hub.save_torch_state_dict", fail)
    elif failing == "tokenizer":
        monkeypatch.setattr(type(model.tokenizer.pretrained), "save_pretrained", fail)
    else:
        monkeypatch.setattr(type(model.config), "save_pretrained", fail)
    with pytest.raises(InputError, match=r"cannot be written .No space left"):
        model.save_pretrained(copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    with pytest.raises(InputError, match="cannot be written"):
        model.save_pretrained(copy.parent / "new")
    assert not (copy.parent / "new").exists()


def test_a_save_that_is_killed_while_files_are_exchanged_leaves_no_checkpoint(copy, build, monkeypatch):
    import os

    real, done = os.replace, []

    def once(source, target):
        if done:
            raise KeyboardInterrupt
        done.append(target)
        real(source, target)

    monkeypatch.setattr("dpe_mner.checkpoints.whole.os.replace", once)
    with pytest.raises(KeyboardInterrupt):
        build().save_pretrained(copy)
    monkeypatch.undo()
    refused(copy, r"no config\.json")


def test_a_folder_holds_the_weights_saved_last_in_one_file_or_many(saved_model, build, tmp_path):
    one, other = load(saved_model), build()
    with torch.no_grad():
        other.network.heads.types.weight[0] += 1
    answers = other.predict(POSTS)
    assert answers != one.predict(POSTS)
    one.save_pretrained(tmp_path)
    other.save_pretrained(tmp_path, max_shard_size="40KB")
    assert load(str(tmp_path)).predict(POSTS) == answers
    one.save_pretrained(tmp_path)
    assert load(str(tmp_path)).predict(POSTS) == one.predict(POSTS)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)


def test_a_place_that_cannot_be_written_is_one_line(build, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(InputError, match="cannot be written"):
            build().save_pretrained(place)


def test_files_of_the_user_stay(tmp_path):
    for name in ("notes.txt", "old.bin"):
        (tmp_path / name).write_text("mine")
    with replaced_together(tmp_path, last="config.json", stale=["old.bin"]) as part:
        (part / "config.json").write_text("{}")
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "config.json"}


def test_baselines_refuse_weights_that_are_no_numbers(tmp_path):
    layer = torch.nn.Linear(2, 2)
    save_file({"weight": torch.full((2, 2), float("nan")), "bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="no numbers"):
        load_weights(layer, tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "runtime.json", "tokenizer.json", "model.safetensors"])
def test_a_graph_lacking_any_file_is_refused(light, name):
    (light / name).unlink()
    refused(light, name.replace(".", r"\."), backend="onnx")


@pytest.mark.parametrize("name", ["model.onnx", "runtime.json", "tokenizer.json", "model.safetensors"])
def test_a_graph_with_any_file_changed_is_refused(light, name):
    content = bytearray((light / name).read_bytes())
    content[-200] ^= 0x40
    rewrite(light / name, bytes(content) if name != "runtime.json" else bytes(content[:-200]))
    refused(light, name.replace(".", r"\."), backend="onnx")


def test_a_graph_with_an_empty_vocabulary_is_refused_even_if_its_files_were_never_noted(light):
    rewrite(light / "tokenizer.json", emptied((light / "tokenizer.json").read_bytes()))
    refused(light, "not the file that was exported", backend="onnx")
    card = json.loads((light / "runtime.json").read_text())
    del card["sha256"]
    rewrite(light / "runtime.json", json.dumps(card).encode())
    refused(light, "knows 5 pieces and the model 30522", backend="onnx")
    refused(light, "knows 5 pieces")


def test_a_graph_with_weights_that_are_no_numbers_is_refused_even_if_its_files_were_never_noted(light):
    content = (light / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    values = np.full((len(content) - start) // 2, np.nan, dtype=np.float16)
    rewrite(light / "model.safetensors", content[:start] + values.tobytes())
    refused(light, "not the file that was exported", backend="onnx")
    card = json.loads((light / "runtime.json").read_text())
    del card["sha256"]
    rewrite(light / "runtime.json", json.dumps(card).encode())
    refused(light, "no numbers", backend="onnx")
    refused(light, "no numbers")


@pytest.mark.parametrize("key", ["labels", "threshold", "noise", "encoder", "max_pieces", "pad_id"])
def test_a_card_lacking_anything_is_refused(light, key):
    card = json.loads((light / "runtime.json").read_text())
    for change in (lambda: card.update({key: "x"}), lambda: card.pop(key)):
        change()
        rewrite(light / "runtime.json", json.dumps(card).encode())
        refused(light, key, backend="onnx")


def test_scores_that_are_no_numbers_are_an_error_and_not_an_empty_answer(light):
    model = OnnxModel(light, threads=1)

    class Spoiled:
        def run(self, names, feed):
            spans, kinds, scores = inner.run(names, feed)
            return spans, kinds, scores * np.float32("nan")

    inner, model.session = model.session, Spoiled()
    with pytest.raises(InputError, match="scores are no numbers"):
        model.predict("Kevin Durant")


def test_models_of_both_runtimes_are_pickled(build, light):
    for model in (build(), OnnxModel(light, threads=1)):
        again = pickle.loads(pickle.dumps(model))
        assert again.predict(POSTS) == model.predict(POSTS)


def test_the_bundled_files_are_those_that_were_noted():
    card = json.loads((bundled_folder() / "runtime.json").read_text())
    assert set(card["sha256"]) == {"model.onnx", "model.safetensors", "tokenizer.json"}
    assert dpe_mner.load(backend="onnx").card == card
