"""L_align^t, L_align^g and L_align^s of a batch (eq. 17 to 19): which texts and pictures belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dpe_mner.fusion.relevance import PairRelevance
from dpe_mner.objective.losses import alignment_loss, doubt_loss
from dpe_mner.settings import LossSettings, TextLevel


def alignment_losses(
    relevance: Mapping[TextLevel, Sequence[PairRelevance]], weights: LossSettings
) -> dict[str, Tensor]:
    """The weighted alignment loss of each text level, the mean over grains and texts.

    Args:
        relevance: Of every text and picture of the batch, at each text level.
        weights: Weights and lambda_rel, and what is ranked: the cosine (the doubt of its gate beside it), or the
            gate itself, as printed.

    Returns:
        ``align_t``, ``align_g``, ``align_s``, those with a weight whose relevance was measured.
    """
    weight_of: dict[TextLevel, float] = {
        "t": weights.align_token,
        "g": weights.align_sentence,
        "s": weights.align_span,
    }
    losses: dict[str, Tensor] = {}
    for i, weight in weight_of.items():
        pairs = relevance.get(i, ())
        if weight and pairs:
            each = torch.stack([_of_pairs(pair, weights) for pair in pairs])
            losses[f"align_{i}"] = weight * each.mean()
    return losses


def _of_pairs(pair: PairRelevance, weights: LossSettings) -> Tensor:
    if weights.align_on == "gate":
        return alignment_loss(pair.printed, pair.present, lambda_rel=weights.lambda_rel, own=pair.own)
    ranking = alignment_loss(pair.logits, pair.present, lambda_rel=weights.lambda_rel, own=pair.own)
    return ranking + doubt_loss(pair.odds, pair.present, pair.own)
