"""What a batch takes of one post's picture besides caption and tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dpe_mner.pictures.kinds import Objects, Span


@dataclass(frozen=True, eq=False)
class PostFeatures:
    """Of one post; None is what its picture does not give.

    Attributes:
        coarse: y_c. *Shape:* (G, channels)
        fine: y_f, region by region. *Shape:* (R * blocks, channels)
        objects: How many objects the picture shows, and its size.
        phrases: For each of the R regions the characters of its phrase in the post's text, or None; empty where no
            region has one.
    """

    coarse: Tensor | None = None
    fine: Tensor | None = None
    objects: Objects | None = None
    phrases: Sequence[Span | None] = ()
