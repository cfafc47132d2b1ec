"""The export says what the model says, needs no PyTorch, and refuses what it cannot hold."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import LABELS, POSTS, settings_with
from helpers import assert_refused, run

from dpe_mner import InputError, Post
from dpe_mner.model import DPEMNERModel
from dpe_mner.settings import Convention

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

from dpe_mner.onnx.export import check_parity, export_onnx
from dpe_mner.onnx.graph import INPUTS, PredictorGraph
from dpe_mner.onnx.runtime import OnnxModel
from dpe_mner.pipeline import PredictionOptions

SETTINGS = {
    "reasoning": {"steps": 2, "spans_per_word": 1.0},
    "encoder": {"word_shapes": True, "window_words": 16, "window_overlap": 4, "caption_words": True},
    "fusion": {"visual_neighbours": 1},
    "decision": {"threshold": 0.001},
}
CONVENTIONS = [Convention(name="all"), Convention(name="people", unannotated=("LOC", "ORG", "MISC"))]


@pytest.fixture(scope="session")
def original(encoders):
    encoder = encoders("bert-uncased")  # before the seed: building it draws numbers
    torch.manual_seed(2)
    model = DPEMNERModel.from_encoder(
        encoder, labels=LABELS, settings=settings_with(**SETTINGS), conventions=CONVENTIONS
    )
    torch.nn.init.normal_(model.text_encoder.conventions.weight, std=2.0)  # it starts at zero, where both are one
    return model.eval()


class GraphSession:
    """What onnxruntime would compute, by PyTorch: writing the graph as ONNX takes minutes."""

    def __init__(self, model: DPEMNERModel) -> None:
        self.graph = PredictorGraph(model, model.settings.reasoning.steps).eval()

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in INPUTS]

    @torch.no_grad()
    def run(self, _: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [found.numpy() for found in self.graph(*(torch.from_numpy(feed[name]) for name in INPUTS))]


ONNX = pytest.param("onnx", marks=pytest.mark.slow)
really_exported = pytest.mark.parametrize("folder", [ONNX], indirect=True)


@pytest.fixture(scope="module", params=["graph", ONNX])
def folder(request, tmp_path_factory, original):
    """An export: the real one, or all of it but the graph itself."""
    path = tmp_path_factory.mktemp("exported")
    real = onnxruntime.InferenceSession

    def session(name: str, *arguments, **options):
        return GraphSession(original) if str(path) in name else real(name, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "graph":
            proto = onnx.ModelProto(ir_version=10)
            patch.setattr("dpe_mner.onnx.export._program", lambda *_: SimpleNamespace(model_proto=proto))
            patch.setattr(onnxruntime, "InferenceSession", session)
        export_onnx(original, path)
        yield path


def posts() -> list[Post]:
    drawn = random.Random(0)
    words = [word for post in POSTS for word in post.words] + ["#", "ümlaut", "猫", "", "x" * 40]
    made = []
    for _ in range(60):
        caption = " ".join(drawn.choices(words, k=drawn.randint(1, 9))) if drawn.random() < 0.6 else None
        tags = drawn.choices(["person", "cup", "tie"], k=2) if drawn.random() < 0.5 else None
        convention = drawn.choice([None, "all", "people"])
        chosen = drawn.choices(words, k=drawn.randint(1, 40))
        made.append(Post(words=chosen, caption=caption, tags=tags, convention=convention))
    return made


def test_the_same_entities_in_any_batch(original, folder):
    parity = check_parity(original, OnnxModel(folder, threads=1), posts(), repeats=1)
    assert (parity.same, parity.posts) == (60, 60)
    assert parity.largest_difference <= 1.1e-3  # scores have three digits
    assert set(parity.seconds) == {"pytorch", "onnxruntime"}
    exported = OnnxModel(folder, threads=1)
    found = exported.predict(posts(), batch_size=64)
    assert sum(map(len, found)) > 20
    assert [exported.predict(post) for post in posts()[:10]] == found[:10]


def test_conventions_are_exported(original, folder):
    exported = OnnxModel(folder, threads=1)
    assert exported.annotation_conventions == CONVENTIONS
    for name in ("all", "people"):
        found = [exported.predict(post, convention=name) for post in POSTS]
        for one, other in zip(found, [original.predict(post, convention=name) for post in POSTS], strict=True):
            assert [(e.start, e.end, e.label) for e in one] == [(e.start, e.end, e.label) for e in other]
    assert {e.label for entities in found for e in entities} == {"PER"}
    with pytest.raises(InputError, match="unknown"):
        exported.predict("Kevin", convention="nobody")


def test_texts_words_and_nothing(original, folder):
    exported = OnnxModel(folder, threads=1)
    text = "Kevin Durant: #NBA!"
    plain = [(e.start, e.end, e.label) for e in exported.predict(text)]
    assert plain == [(e.start, e.end, e.label) for e in original.predict(text)]
    assert exported.predict("") == []
    assert exported.predict([]) == []


@pytest.mark.parametrize("combine", ["last", "max"])
def test_steps_are_combined_as_the_model_combines_them(original, folder, combine):
    exported, kept = OnnxModel(folder, threads=1), original.settings.reasoning
    exported.card["combine"] = combine
    original.configure(reasoning={"combine": combine})
    try:
        parity = check_parity(original, exported, posts()[:20], repeats=1)
    finally:
        original.configure(reasoning=kept)
    assert (parity.same, parity.posts) == (20, 20)
    assert parity.largest_difference <= 1.1e-3
    assert exported.predict(posts()[:20]) != OnnxModel(folder, threads=1).predict(
        posts()[:20]
    )  # whose steps are averaged


@pytest.mark.parametrize("asked", [{"explain": True}, {"steps": 3}, {"spans": 5}, {"seed": 7}])
def test_what_an_export_cannot_do_says_what_it_needs(folder, asked):
    with pytest.raises(InputError, match=r"pip install 'dpe-mner\[torch\]'"):
        OnnxModel(folder, threads=1).predict("Kevin Durant", **asked)


def test_a_picture_that_is_not_used_is_told(folder):
    exported = OnnxModel(folder, threads=1)
    shown = [Post(text="Kevin", image="a.jpg"), Post(text="Kevin", image="b.jpg"), Post(text="Kevin")]
    first, second, plain = exported.predictions(shown, PredictionOptions())
    assert first.warnings[0].startswith("a.jpg: picture not used; an exported model reads captions and tags")
    assert (len(second.warnings), plain.warnings) == (1, [])
    with pytest.warns(UserWarning, match=r"a\.jpg: picture not used; .* \(and 1 more\)"):
        assert exported.predict(shown) == [first.entities, second.entities, plain.entities]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exported.predict(["Kevin", ""])


@really_exported
def test_pytorch_is_not_needed(folder):
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'scipy'): sys.modules[name] = None\n"
        "from dpe_mner.onnx.runtime import OnnxModel\n"
        "print(len(OnnxModel(sys.argv[1], threads=1).predict('Kevin Durant enters Oracle Arena')))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert int(shown.stdout) == len(OnnxModel(folder, threads=1).predict("Kevin Durant enters Oracle Arena")) > 0


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"reasoning": {"eta": 0.5}}, "eta"),
        ({"reasoning": {"start": "gaussian", "spans_per_word": 1.0}}, "Gaussian"),
        ({"pictures": {"grid": {"model": "x"}}}, "image features"),
    ],
)
def test_what_cannot_be_exported_is_one_line(build, tmp_path, sections, reason):
    with pytest.raises(InputError, match=reason):
        export_onnx(build(**sections), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@really_exported
def test_foreign_and_damaged_exports_are_one_line(folder, tmp_path):
    with pytest.raises(InputError, match="dpe-mner export"):
        OnnxModel(tmp_path)
    for name in ("model.onnx", "runtime.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        OnnxModel(tmp_path)
    card = json.loads((folder / "runtime.json").read_text()) | {"format": 99}
    (tmp_path / "runtime.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="format 99"):
        OnnxModel(tmp_path)


def test_wrong_commands_are_one_line(tmp_path, saved_model):
    assert_refused(run("export", "--format", "tflite", "--output", tmp_path / "x"), "only onnx")
    assert_refused(run("export", "--steps", "0", "--output", tmp_path / "x"), "at least 1")
    (tmp_path / "file").touch()
    result = run("export", "--model", saved_model, "--output", tmp_path / "file" / "x")
    assert_refused(result, "cannot be written")
