"""L_align^t, L_align^g and L_align^s of a batch (eq. 17 to 19): which texts and pictures belong together."""

from __future__ import annotations

import torch
from torch import Tensor

from dpe_mner.fusion.granularity import VisualGrains
from dpe_mner.fusion.relevance import masked_mean
from dpe_mner.objective.losses import alignment_loss
from dpe_mner.reasoning.network import Context, ReasoningNetwork, SpanPass
from dpe_mner.settings import GRAINS, Granularity, LossSettings


def alignment_losses(
    network: ReasoningNetwork, context: Context, visual: VisualGrains, passes: list[SpanPass], loss: LossSettings
) -> dict[str, Tensor]:
    """The weighted alignment loss of each text granularity, the mean over the grains that are present.

    Args:
        network: For its relevance gates.
        context: Words and sentence.
        visual: Projected vision.
        passes: For the spans; several passes are averaged.
        loss: Weights and lambda_rel.

    Each holds the doubt of its gate beside eq. 19.

    Returns:
        ``align_t``, ``align_g``, ``align_s``, those with a weight; empty when the batch has no vision, and with a
        static fusion, which has no relevance.
    """
    if not network.dynamic:
        return {}
    texts_of: dict[Granularity, tuple[float, list[Tensor]]] = {
        "t": (loss.align_token, [masked_mean(context.x_t, context.word_mask)]),
        "g": (loss.align_sentence, [context.x_g.squeeze(1)]),
        "s": (loss.align_span, [step.x_s for step in passes]),
    }
    grains = [j for j in GRAINS if visual[j].image.mask.shape[1] + visual[j].image2text.mask.shape[1]]
    losses: dict[str, Tensor] = {}
    for i, (weight, texts) in texts_of.items():
        if (
            weight == 0 or not grains or i not in network.settings.fusion.levels
        ):  # w/o a level (Table 2) nothing of it is trained
            continue
        each = []
        for j in grains:
            gate, present = network.granularity(i).gate(j), visual[j].present
            for x in texts:
                logits = gate.logits(x, visual[j].pooled)
                if loss.align_on == "gate":  # as printed
                    each.append(alignment_loss(gate.printed(logits), present, lambda_rel=loss.lambda_rel))
                    continue
                ranking = alignment_loss(logits, present, lambda_rel=loss.lambda_rel)
                each.append(ranking + gate.doubt(logits, present))
        losses[f"align_{i}"] = weight * torch.stack(each).mean()
    return losses
