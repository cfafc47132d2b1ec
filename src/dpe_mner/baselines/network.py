"""What training and prediction need of a system of Table 1, and what each is built from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dpe_mner.baselines.settings import BaselineSettings, VisionSizes
from dpe_mner.decoding.candidates import Row
from dpe_mner.errors import InputError
from dpe_mner.objective.criterion import TrainingOutput
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.text import TextEncoder


class Baseline(nn.Module, ABC):
    """A model that reads posts and finds entities."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Loss of a batch with gold entities.

        Args:
            batch: B posts.
            generator: Source of what training draws itself; on the batch's device.

        Returns:
            A scalar.
        """

    @abstractmethod
    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of each post of a batch, none overlapping another."""

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """The terms of the loss, each with its weight, by name; :meth:`loss` is their sum."""
        return {"entities": self.loss(batch, generator)}

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> TrainingOutput:
        """One training pass, as our model's."""
        parts = dict(self.losses(batch, generator))
        return TrainingOutput(loss=torch.stack(list(parts.values())).sum(), parts=parts)


class MultimodalBaseline(Baseline):
    """A system whose loss has several terms."""

    @abstractmethod
    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """The terms of the loss, each with its weight, by name."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Their sum, a scalar."""
        return torch.stack(list(self.losses(batch, generator).values())).sum()


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a system is built from.

    Attributes:
        kind: Its name, for messages.
        labels: Entity types, in the order of the classes 1 .. C-1.
        settings: What baselines have of their own.
        vision: Sizes of the image features it will meet.
        tokenizer: The pretrained one, for words that a system brings itself.
        encoder: The text encoder; None where words are numbered.
        rare: Of numbered words: True at rare ones. *Shape:* (words,)
        unknown: Number of the unknown word.
        aligned_words: Encodings of a system's own words in the space of the picture's blocks.
            *Shape:* (words, channels)
    """

    kind: str
    labels: list[str]
    settings: BaselineSettings
    vision: VisionSizes
    tokenizer: Any
    encoder: TextEncoder | None = None
    rare: Tensor | None = None
    unknown: int = 0
    aligned_words: Tensor | None = None

    @property
    def classes(self) -> int:
        """C: the labels and "no entity"."""
        return len(self.labels) + 1

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """The text encoder of a system that has one."""
        assert self.encoder is not None
        return self.encoder

    @property
    def heads(self) -> int:
        """Attention heads: as many as the encoder's."""
        return int(getattr(self.text_encoder.encoder.config, "num_attention_heads", 8))

    @property
    def layers(self) -> int:
        """Layers of the encoder."""
        return int(getattr(self.text_encoder.encoder.config, "num_hidden_layers", 12))

    def channels(self, which: str) -> int:
        """Channels of ``coarse`` or ``fine`` image features.

        Raises:
            InputError: If there are none.
        """
        size: int | None = getattr(self.vision, which)
        if size is None:
            raise InputError(f"{self.kind} reads {which} image features, and this data has none")
        return size
