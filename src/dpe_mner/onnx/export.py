"""Write a model as ONNX, then check that it says the same and time it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpe_mner.data.writing import write_whole
from dpe_mner.diffusion.noise import starting_noise
from dpe_mner.errors import InputError
from dpe_mner.model import DPEMNERModel
from dpe_mner.onnx.graph import INPUTS, OUTPUTS, PredictorGraph
from dpe_mner.onnx.runtime import FORMAT, OnnxModel
from dpe_mner.onnx.shared import share_weights as share
from dpe_mner.types import Entity, Post

_OPSET = 20


@dataclass(frozen=True)
class Parity:
    """How an export compares with its model on the same posts.

    Attributes:
        posts: Compared.
        same: With the same entities (span and label).
        largest_difference: Of the scores of equal entities.
        seconds: Of each, predicting all posts.
    """

    posts: int
    same: int
    largest_difference: float
    seconds: dict[str, float]


def export_onnx(
    model: DPEMNERModel,
    folder: str | os.PathLike[str],
    *,
    steps: int | None = None,
    seed: int = 0,
    share_weights: bool = False,
) -> None:
    """Write ``model.onnx``, ``runtime.json`` and ``tokenizer.json``.

    Args:
        model: With its tokenizer, on the CPU.
        folder: Created if needed.
        steps: gamma; the checkpoint's when not given.
        seed: Of the starting noise, which is fixed in the export.
        share_weights: The folder is the model's own checkpoint, and the graph reads the weights that lie there.

    Raises:
        InputError: If the model cannot be exported, or the exporter is missing.
    """
    _refuse(model)
    for needed in ("onnx", "onnxscript"):
        try:
            __import__(needed)
        except ImportError:
            raise InputError(f"exporting needs {needed}; pip install 'dpe-mner[onnx]'") from None
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    weights = path / "model.safetensors"
    if share_weights and not weights.is_file():
        raise InputError(f"{path}: no model.safetensors to share; give the checkpoint's own folder")
    gamma = steps or model.settings.reasoning.steps
    graph = PredictorGraph(model.eval(), gamma).eval()
    program = _program(graph, _example(model))
    proto = _plain(program.model_proto)
    if share_weights:
        share(proto, weights)
    write_whole(path / "model.onnx", proto.SerializeToString())
    assert model.tokenizer is not None
    model.tokenizer.pretrained.backend_tokenizer.save(str(path / "tokenizer.json"))
    card = _card(model, gamma, seed)
    write_whole(path / "runtime.json", json.dumps(card) + "\n")


def _plain(proto: Any) -> Any:
    """The graph without what the exporter notes of the machine and the code it came from."""
    for part in (proto, proto.graph, *proto.graph.node, *proto.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    del proto.graph.value_info[:]
    return proto


def _refuse(model: DPEMNERModel) -> None:
    settings = model.settings
    reasons = {
        "it adds noise while reasoning (reasoning.eta > 0)": settings.reasoning.eta > 0,
        "it reads image features (settings.pictures)": any(
            getattr(settings.pictures, kind) is not None for kind in ("grid", "regions")
        ),
        "its spans grow with the post and start from Gaussian noise (reasoning.start)": (
            settings.reasoning.start == "gaussian" and settings.reasoning.spans_per_word > 0
        ),
        "it has no tokenizer": model.tokenizer is None,
        f"it is on {model.device}, not on the CPU": model.device.type != "cpu",
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"this model cannot be exported: {reason}")


def _example(model: DPEMNERModel) -> tuple[Tensor, ...]:
    """Inputs of a batch whose sizes all differ, so that none of them is taken for fixed."""
    B, S, M, K, L, N = 2, 24, 8, 16, 32, 12

    def pieces(length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ones = torch.ones(B, length, dtype=torch.long)
        index = torch.arange(length).clamp(max=M - 1).expand(B, -1).contiguous()
        return ones, ones.bool(), index, ones.clone()

    lengths = torch.tensor([M, M - 3])
    word_mask = torch.arange(M)[None, :] < lengths[:, None]
    noise = torch.linspace(-1, 1, 2 * N).view(N, 2)
    return (*pieces(S), word_mask, lengths, noise, *pieces(K), *pieces(L))


def _program(graph: PredictorGraph, example: tuple[Tensor, ...]) -> Any:
    auto = torch.export.Dim.AUTO
    sizes = {name: {0: auto, 1: auto} for name in INPUTS} | {"lengths": {0: auto}, "noise": {0: auto}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")  # of PyTorch about its own future
            return torch.onnx.export(
                graph,
                example,
                dynamo=True,
                dynamic_shapes=tuple(sizes[name] for name in INPUTS),
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                opset_version=_OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter fails in as many ways as there are operators
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"this model cannot be exported: {reason}") from None


def _card(model: DPEMNERModel, steps: int, seed: int) -> dict[str, Any]:
    """What the runtime must know besides the graph."""
    settings, tokenizer = model.settings, model.tokenizer
    assert tokenizer is not None
    reasoning, decision = settings.reasoning, settings.decision
    spans = reasoning.spans or settings.noise.spans
    longest = settings.encoder.window_words + 8
    rows = max(spans, round(reasoning.spans_per_word * longest))
    noise = starting_noise(rows, start=reasoning.start, generator=torch.Generator().manual_seed(seed))
    labels = model.config.label_names
    return {
        "format": FORMAT,
        "labels": labels,
        "threshold": decision.threshold,
        "combine": reasoning.combine,
        "steps": steps,
        "seed": seed,
        "spans": spans,
        "spans_per_word": reasoning.spans_per_word,
        "noise": noise.tolist(),
        "encoder": settings.encoder.model_dump(),
        "max_pieces": tokenizer.max_pieces,
        "pad_id": tokenizer.pad_id,
        "unknown_id": tokenizer.pretrained.unk_token_id,
    }


def check_parity(
    model: DPEMNERModel, exported: OnnxModel, posts: Sequence[Post], *, batch_size: int = 32, repeats: int = 3
) -> Parity:
    """Predict the same posts with both, and time both in turns.

    Args:
        model: The original.
        exported: The export.
        posts: Given.
        batch_size: Posts computed together.
        repeats: Rounds.
    """
    steps = exported.card["steps"]
    times: dict[str, list[float]] = {"pytorch": [], "onnxruntime": []}
    one: list[list[Entity]] = []
    other: list[list[Entity]] = []
    for _ in range(repeats):
        started = time.perf_counter()
        one = model.predict(list(posts), steps=steps, batch_size=batch_size)
        times["pytorch"].append(time.perf_counter() - started)
        started = time.perf_counter()
        other = exported.predict(list(posts), batch_size=batch_size)
        times["onnxruntime"].append(time.perf_counter() - started)
    same, worst = 0, 0.0
    for a, b in zip(one, other, strict=True):
        if [(e.start, e.end, e.label) for e in a] == [(e.start, e.end, e.label) for e in b]:
            same += 1
            worst = max([worst, *(abs(x.score - y.score) for x, y in zip(a, b, strict=True))])
    return Parity(len(one), same, worst, {name: sorted(t)[len(t) // 2] for name, t in times.items()})
