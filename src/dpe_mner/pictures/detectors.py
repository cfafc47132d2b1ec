"""Objects in a picture, for y_ft and for the crops of y_f: transformers detectors, open-vocabulary grounding."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from dpe_mner.pictures.kinds import Detection, clip_box
from dpe_mner.pictures.weights import fingerprint, load_part, quiet_transformers
from dpe_mner.settings import DetectorSettings, ObjectSettings

if TYPE_CHECKING:
    from PIL.Image import Image


class Detector(Protocol):
    """Finds objects of a fixed vocabulary."""

    @property
    def fingerprint(self) -> str:
        """Of weights and preprocessing."""

    def __call__(self, images: Sequence[Image], *, threshold: float) -> list[list[Detection]]:
        """Detections of each picture, best first."""


def load_detector(settings: DetectorSettings | ObjectSettings, *, device: str = "cpu") -> Detector:
    """A YOLOX file or a transformers detector, by what the name is.

    Raises:
        ProviderError: If it cannot be loaded.
    """
    if Path(settings.model).suffix.lower() == ".onnx":
        from dpe_mner.pictures.yolox import YoloxDetector

        return YoloxDetector(settings.model)
    return TransformersDetector(settings.model, device=device)


class TransformersDetector:
    """DETR, RT-DETR and all that ``AutoModelForObjectDetection`` knows.

    Args:
        name: Hub id or folder.
        device: Where it computes.

    Raises:
        ProviderError: If it cannot be loaded.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        self.name = name
        self.device = device
        self.processor: Any = load_part(
            "object detector", name, lambda: AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        )
        model = load_part(
            "object detector",
            name,
            lambda: AutoModelForObjectDetection.from_pretrained(name, trust_remote_code=False, dtype=torch.float32),
        )
        self.model: Any = model.to(device).eval()

    @cached_property
    def fingerprint(self) -> str:
        """Of weights and preprocessing."""
        return fingerprint(self.name, commit=getattr(self.model.config, "_commit_hash", None))

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image], *, threshold: float) -> list[list[Detection]]:
        """Detections of each picture, best first."""
        names = self.model.config.id2label
        found: list[list[Detection]] = []
        size = 1 if torch.device(self.device).type == "cpu" else 16
        for start in range(0, len(images), size):
            part = list(images[start : start + size])
            with quiet_transformers():
                inputs = self.processor(images=part, return_tensors="pt").to(self.device)
                outputs = self.model(**inputs)
                results = self.processor.post_process_object_detection(
                    outputs, threshold=threshold, target_sizes=[(image.height, image.width) for image in part]
                )
            for image, result in zip(part, results, strict=True):
                labels = [names[int(label)] for label in result["labels"]]
                found.append(as_detections(image, labels, result["scores"].tolist(), result["boxes"].tolist()))
        return found


class GroundingDetector:
    """Boxes of given phrases: Grounding DINO, OWLv2 and the like.

    Args:
        settings: Model, threshold, count.
        device: Where it computes.

    Raises:
        ProviderError: If it cannot be loaded.
    """

    def __init__(self, settings: DetectorSettings, *, device: str = "cpu") -> None:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        name = settings.model
        self.settings = settings
        self.device = device
        self.processor: Any = load_part(
            "grounding model", name, lambda: AutoProcessor.from_pretrained(name, trust_remote_code=False)
        )
        model = load_part(
            "grounding model",
            name,
            lambda: AutoModelForZeroShotObjectDetection.from_pretrained(
                name, trust_remote_code=False, dtype=torch.float32
            ),
        )
        self.model: Any = model.to(device).eval()

    @cached_property
    def fingerprint(self) -> str:
        """Of weights and preprocessing."""
        return fingerprint(self.settings.model, commit=getattr(self.model.config, "_commit_hash", None))

    @cached_property
    def longest_text(self) -> int:
        """Tokens of the longest text the model reads: a phrase for OWLv2, all phrases in a row for Grounding DINO."""
        config = self.model.config
        limits = [
            getattr(self.processor.tokenizer, "model_max_length", None),  # huge where the tokenizer knows none
            getattr(getattr(config, "text_config", None), "max_position_embeddings", None),
            getattr(config, "max_text_len", None),
        ]
        return int(min(limit for limit in limits if limit is not None))

    @torch.inference_mode()
    def __call__(self, image: Image, phrases: Sequence[str]) -> list[Detection]:
        """Where the phrases are in one picture, best first; nothing when there is no phrase.

        Of a text longer than the model reads, only the beginning is looked for.
        """
        if not phrases:
            return []
        queries = [list(phrases)]
        with quiet_transformers():
            # Tokenizers do not all cut by themselves, and a text of one piece too many is an error inside the model.
            inputs = self.processor(
                images=[image], text=queries, return_tensors="pt", truncation=True, max_length=self.longest_text
            ).to(self.device)
            outputs = self.model(**inputs)
            decode = self.processor.post_process_grounded_object_detection
            known = inspect.signature(decode).parameters
            more: dict[str, Any] = {}
            if "input_ids" in known:
                more["input_ids"] = inputs["input_ids"]
            if "text_labels" in known:
                more["text_labels"] = queries
            result = decode(
                outputs, threshold=self.settings.threshold, target_sizes=[(image.height, image.width)], **more
            )[0]
        labels = result.get("text_labels") or result["labels"]
        return as_detections(image, list(labels), result["scores"].tolist(), result["boxes"].tolist())


def as_detections(
    image: Image, labels: Sequence[object], scores: Sequence[float], boxes: Sequence[Sequence[float]]
) -> list[Detection]:
    """Detections with boxes as shares of the picture, best first; boxes without area are dropped."""
    width, height = image.size
    found = []
    for label, score, (left, top, right, bottom) in zip(labels, scores, boxes, strict=True):
        box = clip_box(left / width, top / height, right / width, bottom / height)
        if box[2] > box[0] and box[3] > box[1]:
            found.append(Detection(str(label), round(float(score), 4), box))
    return sorted(found, key=lambda detection: -detection.score)
