"""Names in data that belong to a folder lead nowhere else, and names made of data are names of files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dpe_mner.checkpoints.saved import read_weights
from dpe_mner.checkpoints.whole import check_hashes, file_hashes
from dpe_mner.commands.extract import _crops
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.inside import is_plain_name, stays_inside
from dpe_mner.errors import InputError
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.registry import convert

OUT = ["../secret.jpg", "a/../../secret.jpg", "..", "/etc/passwd", "a/b/../../../x", "x\0.jpg"]
IN = ["a.jpg", "a/b.jpg", "a/../b.jpg", "..jpg", "...", "..a/b", ".", "./a"]


@pytest.mark.parametrize("name", OUT)
def test_what_leads_out_is_known(name):
    assert not stays_inside(name)
    assert not is_plain_name(name)


@pytest.mark.parametrize("name", IN)
def test_what_stays_inside_is_known(name):
    assert stays_inside(name)
    assert is_plain_name(name) == ("/" not in name and name != ".")


@pytest.mark.parametrize("identifier", ["../secret", "../secret.jpg", "{secret}", "a/../../secret"])
def test_the_id_of_a_post_finds_no_picture_elsewhere(identifier, tmp_path, write):
    (tmp_path / "photos").mkdir()
    for place in (tmp_path / "secret.jpg", tmp_path / "photos" / "own.jpg"):
        place.write_bytes(b"x")
    identifier = identifier.format(secret=tmp_path / "secret")
    path = write("posts.jsonl", "".join(json.dumps({"id": i, "text": "a"}) + "\n" for i in (identifier, "own", "..")))
    data = load_dataset(path, images=tmp_path / "photos")
    assert data.posts[1].image == str(tmp_path / "photos" / "own.jpg")
    for post in (data.posts[0], data.posts[2]):
        assert Path(post.image).resolve().is_relative_to(tmp_path / "photos")
        assert not Path(post.image).exists()


@pytest.mark.parametrize("crop", OUT[:2] + OUT[3:])
def test_crops_lie_in_their_folder(crop, tmp_path, write):
    (tmp_path / "crops").mkdir()
    index = write("crops.json", json.dumps({"a.jpg": ["a-0.png", "more/a-1.png"], "b.jpg": [crop]}))
    with pytest.raises(InputError, match="leads out of"):
        _crops(tmp_path / "crops", index)
    write("crops.json", json.dumps({"a.jpg": ["a-0.png", "more/a-1.png"]}))
    assert _crops(tmp_path / "crops", index) == {"a.jpg": [tmp_path / "crops" / n for n in ("a-0.png", "more/a-1.png")]}


@pytest.mark.parametrize("name", ["../model.safetensors", "{outside}/model.safetensors"])
def test_weights_lie_in_their_checkpoint(name, saved_model, tmp_path):
    name = name.format(outside=tmp_path)
    shutil.copy(Path(saved_model) / "model.safetensors", tmp_path)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(InputError, match="files beside it"):
        read_weights(folder)


def test_files_whose_sums_are_noted_lie_in_their_checkpoint(tmp_path):
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "exported"
    folder.mkdir()
    with pytest.raises(InputError, match="is no file of it"):
        check_hashes(folder, file_hashes(folder, ["../secret"]))


@pytest.mark.parametrize("location", ["../secret.bin", "{outside}/secret.bin"])
def test_a_graph_reads_no_weights_from_elsewhere(location, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "secret.bin").write_bytes(bytes(4))
    folder = tmp_path / "exported"
    folder.mkdir()
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    place = location.format(outside=tmp_path)
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=place))
    tensor.external_data.append(onnx.StringStringEntryProto(key="length", value="4"))
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [output], [tensor])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Exception, match=r"(?i)external|escape|outside"):
        runtime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


def test_documents_are_named_within_their_folder(tmp_path, write):
    names = ["../../a", "/etc/passwd", "..", "a\0b", "C:\\x", "con/../x", "é" * 300]
    path = write("posts.jsonl", "".join(json.dumps({"id": name, "text": "Paris"}) + "\n" for name in names))
    convert(path, tmp_path / "deep" / "brat", read_as="jsonl", write_as="brat", options=FormatOptions())
    written = [place for place in tmp_path.rglob("*") if place.is_file() and place != path]
    assert {place.parent for place in written} == {tmp_path / "deep" / "brat"}
    assert len(written) == 2 * len(names) + 1
