"""What is measured: a model and posts, with all that single parts of the bench ask for besides."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dpe_mner.bench.memory import peak_process_memory
from dpe_mner.errors import InputError
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import Predictor
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.windows import WindowTokenizer
from dpe_mner.types import Post, Prediction


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, posts, and how often to measure.

    Args:
        model: In evaluation mode, on the device to measure.
        posts: What to predict; F1 is given where they are labelled.
        batch_size: Posts computed together.
        repeats: Rounds of each comparison.
        checkpoint: Folder or hub id of the model, for parts that load it in a fresh process.
        onnx: Folder that ``dpe-mner export`` wrote, for ``cold_start``.
        images: Folder of pictures, for ``pictures``.
        picture_models: ``grid`` and ``tags``, for ``pictures``.

    Raises:
        InputError: If there is nothing to measure with.
    """

    model: DPEMNERModel
    posts: Sequence[Post]
    batch_size: int = 64
    repeats: int = 3
    checkpoint: str | None = None
    onnx: Path | None = None
    images: Path | None = None
    picture_models: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.posts:
            raise InputError("bench: no posts to measure with")
        if self.repeats < 1:
            raise InputError(f"bench: --repeats must be at least 1, got {self.repeats}")

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def tokenizer(self) -> WindowTokenizer:
        """The model's tokenizer with windows."""
        assert self.model.tokenizer is not None
        return self.model.tokenizer

    @cached_property
    def labelled(self) -> bool:
        """Whether every post has gold entities, so that F1 can be given."""
        return all(post.entities is not None for post in self.posts)

    def predict(
        self,
        posts: Sequence[Post] | None = None,
        *,
        steps: int | None = None,
        spans: int | None = None,
        threshold: float | None = None,
    ) -> list[Prediction]:
        """Predictions of posts, all of them when not given, without their pictures."""
        options = PredictionOptions(steps=steps, spans=spans, batch_size=self.batch_size, threshold=threshold)
        return list(Predictor(self.model, self.tokenizer)(self.posts if posts is None else posts, options))

    def named_checkpoint(self, part: str) -> str:
        """The name to load the model by in another process.

        Raises:
            InputError: If the bench was given a model without one.
        """
        if self.checkpoint is None:
            raise InputError(f"bench: {part} loads the model anew; name its checkpoint, e.g. --model runs/mine")
        return self.checkpoint

    def facts(self) -> dict[str, Any]:
        """What was measured, on what."""
        import transformers

        from dpe_mner.version import __version__

        steps, spans = self.model.usual
        return {
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "steps": steps,
            "spans": spans,
            "batch_size": self.batch_size,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "version": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }


@torch.inference_mode()
def encode_bare(encoder: nn.Module, batches: Sequence[Batch], *, everything: bool = False) -> None:
    """The bare encoder pass that everything is held against.

    Args:
        encoder: The encoder alone, without pooling and word features.
        batches: As prediction makes them.
        everything: Captions and tags too, as prediction must.
    """
    for batch in batches:
        for pieces in (batch.text, batch.caption, batch.tags) if everything else (batch.text,):
            if pieces is not None:
                encoder(input_ids=pieces.ids, attention_mask=pieces.mask.long())


def without_vision(post: Post) -> Post:
    """The post with its text alone."""
    return replace(post, caption=None, tags=None, image=None)


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in MB: the device's, or the process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_process_memory()


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
