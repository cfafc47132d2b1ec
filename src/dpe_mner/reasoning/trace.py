"""What a whole reasoning run leaves, and what anything that reasons offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from dpe_mner.checkpoints.config import DPEMNERConfig
from dpe_mner.fusion.text_level import VisualGrains
from dpe_mner.reasoning.network import Context, ReasoningNetwork, SpanPass
from dpe_mner.representations.batch import Batch
from dpe_mner.settings import Settings


@dataclass(frozen=True)
class ReasoningTrace:
    """All gamma reasoning steps of a batch.

    Attributes:
        steps: Output and relevance of each step.
        times: t of each step.
        context: Relevance of tokens and sentence, and the schedule's s.
        visual: The visual representations that were present.
    """

    steps: list[SpanPass]
    times: list[int]
    context: Context
    visual: VisualGrains


class Reasoner(Protocol):
    """A model that reasons; what prediction needs of it."""

    config: DPEMNERConfig

    @property
    def settings(self) -> Settings:
        """Its settings."""

    @property
    def network(self) -> ReasoningNetwork:
        """Its AMRN."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    def reason(
        self, batch: Batch, *, seed: int = 0, steps: int | None = None, spans: int | None = None
    ) -> ReasoningTrace:
        """Reason from noise to entities."""
