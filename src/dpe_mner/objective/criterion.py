"""Eq. 20: from what the network gave for a batch, and its gold entities, to one loss. It never meets the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.fusion.relevance import PairRelevance
from dpe_mner.objective.alignment import alignment_losses
from dpe_mner.objective.losses import entity_loss, tagging_loss
from dpe_mner.objective.matcher import HungarianMatcher
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.representations.batch import GoldSpans
from dpe_mner.settings import Settings, TextLevel


@dataclass(frozen=True)
class TrainingOutput:
    """The loss of eq. 20 (a scalar) and its parts by name."""

    loss: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class NetworkOutputs:
    """What the network gives for a batch of B posts in K training passes.

    Attributes:
        outputs: Logits of each pass.
        anchors: The word each of the N spans looks at, by pass. *Shape:* (B, N)
        tags: Logits of the auxiliary tags; None without them. *Shape:* (K, B, M, tags)
        relevance: Of every text of the batch and every picture, at each text level that has a gate: for each grain
            that is there and each of its texts (spans have one a pass).
    """

    outputs: Sequence[ReasoningOutput]
    anchors: Sequence[Tensor]
    tags: Tensor | None
    relevance: Mapping[TextLevel, Sequence[PairRelevance]]


class Criterion:
    """Matching, L_NER, alignment and the auxiliary tagging, joined as eq. 20 has it.

    Args:
        settings: Variant of the heads, who answers for which gold span, and the weights.
    """

    def __init__(self, settings: Settings) -> None:
        self.variant = settings.heads.variant
        self.weights = settings.loss
        self.matcher = HungarianMatcher(share=settings.noise.gold_share, reach=settings.noise.anchor_reach)

    def __call__(self, given: NetworkOutputs, gold: GoldSpans) -> TrainingOutput:
        """The loss of a batch.

        Args:
            given: By the network.
            gold: Gold entities.

        Returns:
            The sum, and ``entities`` (the mean over the passes), ``tagging`` and ``align_t``, ``align_g``,
            ``align_s`` where they are there, each with its weight.
        """
        entities = [
            entity_loss(output, gold, self.matcher(output, gold, anchors), variant=self.variant)
            for output, anchors in zip(given.outputs, given.anchors, strict=True)
        ]
        losses = {"entities": torch.stack(entities).mean()}
        if given.tags is not None:
            each = torch.stack([tagging_loss(of_pass, gold) for of_pass in given.tags])
            losses["tagging"] = self.weights.tagging * each.mean()
        losses |= alignment_losses(given.relevance, self.weights)
        return TrainingOutput(loss=torch.stack(list(losses.values())).sum(), parts=losses)
