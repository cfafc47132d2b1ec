"""Entity types that a post's corpus does not annotate count as "no entity" there, in training and in answers.

A corpus without MISC says nothing of a film's name: whether the model takes it for MISC or for nothing, both are right.
So the probability of "no entity" is the sum over it and over all that is not annotated, and the loss asks for that sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_NEVER = -1e4  # a logit: no probability is left in float32, and differences of two of them are numbers


def fold_classes(logits: Tensor, unannotated: Tensor) -> Tensor:
    """Logits in which class 0 has taken in the unannotated classes, and they are left with nothing.

    Args:
        logits: *Shape:* (..., C)
        unannotated: True at classes that are not annotated; never at 0. *Shape:* broadcast to (..., C)
    """
    never = torch.full_like(logits, _NEVER)
    none = torch.zeros_like(unannotated)
    none[..., 0] = True
    taken = torch.where(unannotated | none, logits, never).logsumexp(-1, keepdim=True)
    return torch.cat([taken, torch.where(unannotated, never, logits)[..., 1:]], dim=-1)


def tag_classes(unannotated: Tensor) -> Tensor:
    """The same for the auxiliary tags: outside, then begin and inside of each type. *Shapes:* (B, C), (B, tags)."""
    return torch.cat([unannotated[:, :1], unannotated[:, 1:].repeat_interleave(2, dim=1)], dim=1)


def class_mask(unannotated: Sequence[Sequence[int]], classes: int) -> Tensor | None:
    """Which classes each convention's corpora do not annotate; None when all annotate all.

    Args:
        unannotated: Classes of each convention.
        classes: C.

    Returns:
        *Shape:* (conventions, C), or None.
    """
    if not any(unannotated):
        return None
    mask = torch.zeros(len(unannotated), classes, dtype=torch.bool)
    for row, left_out in enumerate(unannotated):
        mask[row, list(left_out)] = True
    return mask
