"""What training and prediction need of a baseline, and the encoder it shares with our model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from dpe_mner.decoding.candidates import Row
from dpe_mner.objective.criterion import TrainingOutput
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.encoders import load_pretrained, new_encoder
from dpe_mner.representations.text import TextEncoder
from dpe_mner.settings import EncoderSettings


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

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> TrainingOutput:
        """One training pass, as our model's."""
        loss = self.loss(batch, generator)
        return TrainingOutput(loss=loss, parts={"entities": loss})


def pretrained_text_encoder(name: str, settings: EncoderSettings) -> TextEncoder:
    """Our model's text encoder with pretrained weights.

    Args:
        name: Hub id or folder of a BERT-like encoder.
        settings: Pooling and word features.

    Raises:
        InputError: If the encoder cannot be loaded.
    """
    config, pretrained = load_pretrained(name)
    encoder = TextEncoder(new_encoder(config), settings)
    encoder.load_encoder(pretrained)
    return encoder
