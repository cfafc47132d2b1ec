"""The YOLOX family through onnxruntime: an object detector for machines without a GPU.

Input and output as the family's exports have them: a letterboxed BGR picture of 0..255 in, undecoded cells out
(YOLOX, Ge et al. 2021).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpe_mner.pictures.coco import COCO_CLASSES
from dpe_mner.pictures.detectors import as_detections
from dpe_mner.pictures.kinds import Detection
from dpe_mner.pictures.weights import ProviderError, fingerprint, load_part, need

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[np.float32]
_STRIDES = (8, 16, 32)
_FILL = 114
_OVERLAP = 0.45  # boxes of one class that overlap more are one object


class YoloxDetector:
    """A YOLOX model.

    Args:
        path: The ``.onnx`` file. Class names come from the file's ``names`` metadata, from a ``*classes.txt`` beside
            it, or are COCO's.

    Raises:
        ProviderError: If it or onnxruntime is missing or foreign.
    """

    def __init__(self, path: str) -> None:
        runtime = need("onnxruntime", "the YOLOX detector", "pictures")
        if not Path(path).is_file():
            raise ProviderError(f"object detector {path!r}: no such file")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.path = path
        self.session: Any = load_part(
            "object detector",
            path,
            lambda: runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"]),
        )
        shape = self.session.get_inputs()[0].shape
        if len(shape) != 4 or not all(isinstance(side, int) and side % 32 == 0 for side in shape[2:]):
            raise ProviderError(f"object detector {path!r}: input {shape} is not that of a YOLOX model")
        self.height, self.width = int(shape[2]), int(shape[3])
        self.cells, self.strides = _cells(self.height, self.width)
        self.names = self._class_names()

    @cached_property
    def fingerprint(self) -> str:
        """Of the file."""
        return fingerprint(self.path)

    def _class_names(self) -> Sequence[str]:
        count = int(self.session.get_outputs()[0].shape[-1]) - 5
        listed = self.session.get_modelmeta().custom_metadata_map.get("names")
        if listed:
            try:
                names = [str(name) for name in ast.literal_eval(listed).values()]
            except (ValueError, SyntaxError, RecursionError, MemoryError, AttributeError):
                raise ProviderError(f"object detector {self.path!r}: its 'names' are no names by number") from None
        else:
            beside = sorted(Path(self.path).parent.glob("*classes.txt"))
            names = beside[0].read_text(encoding="utf-8").split("\n") if beside else list(COCO_CLASSES)
            names = [name.strip() for name in names if name.strip()]
        if len(names) != count:
            raise ProviderError(f"object detector {self.path!r}: {count} classes but {len(names)} names")
        return names

    def __call__(self, images: Sequence[Image], *, threshold: float) -> list[list[Detection]]:
        """Detections of each picture, best first."""
        name = self.session.get_inputs()[0].name
        found = []
        for image in images:
            canvas, ratio = self.canvas(image)
            rows = self.session.run(None, {name: canvas[None]})[0][0]
            found.append(self._decode(image, rows, ratio, threshold))
        return found

    def canvas(self, image: Image) -> tuple[Array, float]:
        """The picture at the top left of a grey canvas, BGR. *Shape:* (3, height, width), and the scale."""
        ratio = min(self.width / image.width, self.height / image.height)
        size = max(int(image.width * ratio), 1), max(int(image.height * ratio), 1)
        canvas = np.full((self.height, self.width, 3), _FILL, dtype=np.uint8)
        canvas[: size[1], : size[0]] = np.asarray(image.resize(size, resample=2))  # bilinear
        return np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)).astype(np.float32), ratio

    def _decode(self, image: Image, rows: Array, ratio: float, threshold: float) -> list[Detection]:
        classes = rows[:, 5:].argmax(1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + classes]
        keep = scores > threshold
        rows, classes, scores = rows[keep], classes[keep], scores[keep]
        centre = (rows[:, :2] + self.cells[keep]) * self.strides[keep]
        half = np.exp(rows[:, 2:4]) * self.strides[keep] / 2
        boxes = (np.concatenate([centre - half, centre + half], axis=1) / ratio).astype(np.float32)
        chosen = suppress(boxes, scores, classes)
        labels = [self.names[c] for c in classes[chosen]]
        return as_detections(image, labels, scores[chosen].tolist(), boxes[chosen].tolist())


def _cells(height: int, width: int) -> tuple[Array, Array]:
    """Column and row of every output cell, and its stride. *Shapes:* (cells, 2), (cells, 1)."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[0 : height // stride, 0 : width // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def suppress(boxes: Array, scores: Array, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Non-maximum suppression within each class; the kept rows, best first.

    Args:
        boxes: Left, top, right, bottom. *Shape:* (n, 4)
        scores: *Shape:* (n,)
        classes: *Shape:* (n,)
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        overlap = shared / np.maximum(area[best] + area[rest] - shared, 1e-9)
        order = rest[(overlap <= _OVERLAP) | (classes[rest] != classes[best])]
    return np.array(kept, dtype=np.int64)
