"""L_NER of 2.4 and the contrastive relevance losses of eq. 17 to 19. None of them knows the network.

Each is a mean over the whole batch. Where several processes train, each gives its own posts' share of that mean, and
the shares sum to it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dpe_mner.ranks import total
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.representations.batch import GoldSpans
from dpe_mner.settings import HeadVariant

IGNORED = -100  # as gold tags mark padding


def entity_loss(output: ReasoningOutput, gold: GoldSpans, assigned: Tensor, *, variant: HeadVariant) -> Tensor:
    """-log p of the matched left, right and class, and of "no entity" for the others.

    Args:
        output: Logits of one pass.
        gold: Gold spans.
        assigned: From the matcher. *Shape:* (B, N)
        variant: ``pointer`` points at one word; ``paper`` asks every word by itself.

    Returns:
        A scalar; finite and connected to the network even when no post has an entity.
    """
    index = assigned.clamp(min=0)
    matched = assigned >= 0
    label = torch.where(matched, torch.gather(gold.labels, 1, index), 0)
    type_loss = functional.cross_entropy(output.types.flatten(0, 1), label.flatten(), reduction="sum")
    type_loss = type_loss / total(torch.tensor(label.numel(), device=label.device))
    target = torch.gather(gold.spans, 1, index[..., None].expand(-1, -1, 2))
    count = total(matched.sum()).clamp(min=1)
    boundary = torch.zeros((), device=label.device)
    for logits, word in ((output.left, target[..., 0]), (output.right, target[..., 1])):
        each = _sigmoid_loss(logits, word) if variant == "paper" else _pointer_loss(logits, word)
        boundary = boundary + torch.where(matched, each, 0.0).sum() / count
    return type_loss + boundary


def tagging_loss(tags: Tensor, gold: GoldSpans) -> Tensor:
    """Cross-entropy of the auxiliary word tags. *Shape:* (B, M, tags) -> scalar."""
    summed = functional.cross_entropy(
        tags.float().flatten(0, 1), gold.tags.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return summed / total((gold.tags != IGNORED).sum()).clamp(min=1)


def _pointer_loss(logits: Tensor, word: Tensor) -> Tensor:
    return -torch.gather(logits.log_softmax(-1), 2, word[..., None]).squeeze(-1)


def _sigmoid_loss(logits: Tensor, word: Tensor) -> Tensor:
    real = torch.isfinite(logits)
    target = functional.one_hot(word, logits.shape[-1]).to(logits.dtype)
    # Padding is -inf: replaced before the loss, so that neither value nor gradient is lost in half precision.
    each = functional.binary_cross_entropy_with_logits(torch.where(real, logits, 0.0), target, reduction="none")
    return torch.where(real, each, 0.0).sum(-1)


def alignment_loss(logits: Tensor, present: Tensor, *, lambda_rel: float, own: Tensor | None = None) -> Tensor:
    """L_align^i for one grain (eq. 17-19): each text finds its picture among the batch's, and the other way round.

    Args:
        logits: Relevance of text a and picture b over tau. *Shape:* (B, B)
        present: Posts that have this grain; the others do not count. *Shape:* (B,)
        lambda_rel: Weight of text to image; image to text has one minus it.
        own: Posts whose share this process gives; all when not given. *Shape:* (B,)

    Returns:
        A scalar, 0 with fewer than two posts.
    """
    pair = present[:, None] & present[None, :]
    relevance = logits.float().masked_fill(~pair, -1e4)
    text_to_image = -relevance.log_softmax(dim=1).diagonal()  # eq. 17
    image_to_text = -relevance.log_softmax(dim=0).diagonal()  # eq. 18
    each = lambda_rel * text_to_image + (1 - lambda_rel) * image_to_text
    count = present.sum()
    counted = present if own is None else present & own
    return torch.where(counted, each, 0.0).sum() / count.clamp(min=1) * (count > 1)  # eq. 19


def doubt_loss(odds: Tensor, present: Tensor, own: Tensor | None = None) -> Tensor:
    """-log p of a gate's being right, the mean of own pairs and of exchanged ones.

    Args:
        odds: Logits of the gate of text a and picture b. *Shape:* (B, B)
        present: Posts that have the grain. *Shape:* (B,)
        own: Texts whose share this process gives; all when not given. *Shape:* (B,)

    Returns:
        A scalar, 0 with fewer than two posts.
    """
    together = torch.eye(len(present), dtype=torch.bool, device=present.device)
    pair = present[:, None] & present
    counted = pair if own is None else pair & own[:, None]
    right = functional.logsigmoid(torch.where(together, odds, -odds))
    means = [
        torch.where(counted & kind, right, 0.0).sum() / (pair & kind).sum().clamp(min=1)
        for kind in (together, ~together)
    ]
    return -(means[0] + means[1]) / 2 * (present.sum() > 1)
