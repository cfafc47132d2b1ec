"""Let a graph read its weights from a checkpoint's own safetensors file, so that nothing is stored twice.

Both formats keep tensors as plain little-endian rows: a tensor of the graph can name a file, an offset and a length,
and a safetensors header says just that of each weight. What the exporter derived from a weight (its transpose, float32
out of float16) is derived again in the graph, where onnxruntime does it once, as it loads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_LARGEST_OTHER = 1024  # numbers; a table the exporter computed may be as long, a weight would be stored a second time
_LEAST = 256  # numbers; smaller tensors stay in the graph, where they take less room than their description
_KINDS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


@dataclass(frozen=True)
class _Stored:
    """A weight in the file: its values in float32, its kind there, and where it lies."""

    name: str
    values: np.ndarray[Any, Any]
    kind: str
    offset: int
    length: int


def share_weights(graph: ModelProto, weights: Path) -> None:
    """Replace the graph's large tensors by references into a checkpoint's weights, in place.

    Args:
        graph: With all its tensors inside; it has to lie beside the weights when it is loaded.
        weights: ``model.safetensors``.

    Raises:
        InputError: If a large tensor of the graph is not one of the weights.
    """
    from onnx import helper

    by_content: dict[tuple[Any, ...], tuple[_Stored, bool]] = {}
    for stored in _read(weights):
        if stored.values.ndim == 2:
            by_content.setdefault(_content(stored.values.T), (stored, True))
        by_content[_content(stored.values)] = (stored, False)
    kept: list[TensorProto] = []
    nodes: list[NodeProto] = []
    shared: dict[str, TensorProto] = {}
    for tensor in graph.graph.initializer:
        values = _values(tensor)
        if values is None or values.size < _LEAST:
            kept.append(tensor)
            continue
        found = by_content.get(_content(values))
        if found is None:
            if values.size >= _LARGEST_OTHER:
                raise InputError(f"{weights}: not the weights of this graph (none equals {tensor.name})")
            kept.append(tensor)
            continue
        stored, turned = found
        shared.setdefault(stored.name, _external(stored, weights.name))
        source = stored.name
        if turned:
            result = f"{tensor.name}.stored" if stored.kind != "F32" else tensor.name
            nodes.append(helper.make_node("Transpose", [source], [result], perm=[1, 0]))
            source = result
        if stored.kind != "F32":
            nodes.append(helper.make_node("Cast", [source], [tensor.name], to=1))
        elif not turned:
            nodes.append(helper.make_node("Identity", [source], [tensor.name]))
    original = list(graph.graph.node)
    del graph.graph.initializer[:], graph.graph.node[:]
    graph.graph.initializer.extend([*kept, *shared.values()])
    graph.graph.node.extend([*nodes, *original])


def _read(weights: Path) -> list[_Stored]:
    raw = weights.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = []
    for name, about in json.loads(raw[8:start]).items():
        kind = about.get("dtype")
        if kind in _KINDS:
            begin, end = about["data_offsets"]
            values = np.frombuffer(raw[start + begin : start + end], _KINDS[kind]).reshape(about["shape"])
            found.append(_Stored(f"stored.{name}", values.astype(np.float32), kind, start + begin, end - begin))
    return found


def _values(tensor: TensorProto) -> np.ndarray[Any, Any] | None:
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else None


def _content(values: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    return (values.shape, np.ascontiguousarray(values).tobytes())


def _external(stored: _Stored, location: str) -> TensorProto:
    from onnx import StringStringEntryProto, TensorProto

    kind = TensorProto.FLOAT16 if stored.kind == "F16" else TensorProto.FLOAT
    tensor = TensorProto(name=stored.name, data_type=kind, dims=stored.values.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", stored.offset), ("length", stored.length)):
        tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    return tensor
