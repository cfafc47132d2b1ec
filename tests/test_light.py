"""The base installation: everything that predicts works where PyTorch, and what comes with it, cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import dpe_mner
from dpe_mner.checkpoints.hub import bundled_folder
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.demo import demo_posts
from dpe_mner.onnx.shared import share_weights

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "twitter2017"
EXTRAS = ("torch", "transformers", "scipy", "safetensors", "jinja2", "yaml", "accelerate", "matplotlib", "onnx")
MOST_MODULES = 45

BARE = f"import sys\nfor name in {EXTRAS!r}: sys.modules[name] = None\n"


def bare(script, *arguments, cwd=None):
    """Run Python where none of the extras can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BARE + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


def command(*arguments, cwd=None):
    return bare("from dpe_mner.commands.main import main\nmain()", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def light():
    return dpe_mner.load(backend="onnx")


@pytest.fixture(scope="module")
def whole():
    return dpe_mner.load()


def spans(answers):
    return [[(e.start, e.end, e.label) for e in entities] for entities in answers]


def test_a_text_only_prediction_imports_little():
    shown = bare(
        "import dpe_mner\n"
        "model = dpe_mner.load()\n"
        "print([(e.text, e.label) for e in model.predict('Kevin Durant enters Oracle Arena')])\n"
        "print(len([name for name in sys.modules if name.split('.')[0] == 'dpe_mner']))\n"
    )
    assert shown.returncode == 0, shown.stderr
    found, modules = shown.stdout.splitlines()
    assert found == "[('Kevin Durant', 'PER'), ('Oracle Arena', 'LOC')]"
    assert int(modules) < MOST_MODULES


def test_the_bundled_graph_says_what_the_model_says(light, whole):
    posts = demo_posts()
    assert spans(light.predict(posts)) == spans(whole.predict(posts))
    assert sum(map(len, light.predict(posts))) > 10
    assert light.labels == whole.labels
    assert light.usual == whole.usual


@pytest.mark.skipif(not SHARED.is_dir(), reason="the Twitter corpora are not beside this checkout")
@pytest.mark.parametrize("count", [200, pytest.param(723, marks=pytest.mark.slow)])
def test_both_installations_find_the_same_on_validation_posts(light, whole, count):
    posts = load_dataset(SHARED / "valid.txt", visual_text=SHARED / "visual_text_full.jsonl").posts[:count]
    assert len(posts) == count
    assert spans(light.predict(posts, batch_size=64)) == spans(whole.predict(posts, batch_size=64))


def test_the_graph_holds_no_weights_and_names_no_place():
    graph = onnx.load(bundled_folder() / "model.onnx", load_external_data=False)
    inside = [t for t in graph.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    assert sum(int(np.prod(t.dims)) for t in inside) < 5_000
    outside = [t for t in graph.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert len(outside) > 100
    assert {e.value for t in outside for e in t.external_data if e.key == "location"} == {"model.safetensors"}
    assert (bundled_folder() / "model.onnx").stat().st_size < 1_000_000
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


def test_weights_of_another_model_are_refused(tmp_path):
    values = np.arange(4096, dtype=np.float32).reshape(64, 64)
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(values, "w")])
    header = json.dumps({"other": {"dtype": "F32", "shape": [64, 64], "data_offsets": [0, values.nbytes]}}).encode()
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header + (values + 1).tobytes())
    with pytest.raises(dpe_mner.InputError, match="not the weights of this graph"):
        share_weights(onnx.helper.make_model(graph), weights)


def test_commands_that_predict_work(tmp_path):
    posts = tmp_path / "posts.jsonl"
    entity = {"start": 0, "end": 12, "label": "PER"}
    posts.write_text(json.dumps({"id": "a", "text": "Kevin Durant scores", "entities": [entity]}) + "\n")
    shown = command("predict", "--text", "Kevin Durant enters Oracle Arena")
    assert shown.returncode == 0, shown.stderr
    assert [e["text"] for e in json.loads(shown.stdout)["entities"]] == ["Kevin Durant", "Oracle Arena"]
    scored = command("evaluate", posts, "--json", tmp_path / "scores.json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads((tmp_path / "scores.json").read_text())["f1"] == 100.0
    demonstrated = command("demo", cwd=tmp_path)
    assert demonstrated.returncode == 0, demonstrated.stderr
    assert "dpe-mner[torch]" in demonstrated.stdout
    assert command("--version").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "--text", "a", "--explain"),
        ("predict", "--text", "a", "--html", "page.html"),
        ("predict", "--text", "a", "--steps", "3"),
        ("predict", "--text", "a", "--device", "cuda"),
        ("predict", "--text", "a", "--int8"),
        ("train", "recipe.yaml"),
        ("bench",),
        ("export", "--output", "exported"),
    ],
)
def test_what_takes_more_says_what_to_install(tmp_path, arguments):
    shown = command(*arguments, cwd=tmp_path)
    assert shown.returncode == 2, shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1, shown.stderr
    assert "pip install 'dpe-mner[" in shown.stderr


def test_the_service_and_its_page_need_none_of_it():
    pytest.importorskip("fastapi")
    shown = bare("import dpe_mner.web.running\nfrom dpe_mner.web.application import create_app")
    assert shown.returncode == 0, shown.stderr


def test_a_checkpoint_without_a_graph_says_what_it_takes(saved_model):
    shown = bare("import dpe_mner\ndpe_mner.load(sys.argv[1])", saved_model)
    assert "no model.onnx" in shown.stderr.splitlines()[-1]
    assert "pip install 'dpe-mner[torch]'" in shown.stderr.splitlines()[-1]


def test_loading_takes_a_back_end_by_name(light):
    assert type(light) is dpe_mner.OnnxModel
    assert type(dpe_mner.load(backend="torch")) is dpe_mner.DPEMNERModel
    with pytest.raises(dpe_mner.InputError, match="backend 'tensorflow'"):
        dpe_mner.load(backend="tensorflow")
    with pytest.raises(dpe_mner.InputError, match=r"int8 needs PyTorch"):
        dpe_mner.load(backend="onnx", int8=True)
    assert {"DPEMNERModel", "OnnxModel", "load", "evaluate", "train"} <= set(dir(dpe_mner))
