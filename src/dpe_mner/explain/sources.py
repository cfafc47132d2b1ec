"""How much each of the four sources beside the text weighed in a reasoning step, without those that moved nothing.

Needs no PyTorch: what draws an explanation may be where none is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dpe_mner.types import Prediction, ReasoningStep

LEAST_INFLUENCE = 0.1
"""Logits. Type logits that move by no more move a class's log odds by at most 0.2 and its probability by at most 0.05;
the probability of a boundary changes by about a tenth of itself."""

SOURCES: Mapping[str, Mapping[str, str]] = {
    "coarse": {"y_ct": "caption", "y_c": "picture"},
    "fine": {"y_ft": "tags", "y_f": "regions"},
}


@dataclass(frozen=True)
class SourceWeights:
    """Shares of what the fusion takes from beside the text; they sum to 1, or are all 0 where nothing counts.

    Attributes:
        y_ct: Of the caption.
        y_c: Of the whole picture.
        y_ft: Of the tags.
        y_f: Of the regions.
        coarse_present: Whether a caption or a whole picture counts.
        fine_present: Whether tags or regions count.
    """

    y_ct: float
    y_c: float
    y_ft: float
    y_f: float
    coarse_present: bool
    fine_present: bool

    @property
    def image2text(self) -> float:
        """Of caption and tags against the picture itself."""
        return self.y_ct + self.y_ft

    @property
    def coarse(self) -> float:
        """Of caption and whole picture against tags and regions."""
        return self.y_ct + self.y_c

    @property
    def named(self) -> list[tuple[str, float]]:
        """Name and share of each, in a steady order."""
        return [(name, getattr(self, key)) for grain in SOURCES.values() for key, name in grain.items()]

    @property
    def both_kinds(self) -> bool:
        """Whether a text made of the picture and the picture itself count."""
        return self.y_ct + self.y_ft > 0 and self.y_c + self.y_f > 0

    @property
    def any(self) -> bool:
        """Whether anything beside the text counts."""
        return self.coarse_present or self.fine_present


def counting(prediction: Prediction) -> dict[str, bool]:
    """Which of y_c, y_ct, y_f, y_ft were there and belong to a grain that moves the answer."""
    return {
        key: prediction.representations.get(key, False) and prediction.influence.get(grain, 0.0) >= LEAST_INFLUENCE
        for grain, names in SOURCES.items()
        for key in names
    }


def idle(prediction: Prediction) -> list[str]:
    """Names of the sources that were there and did not change the answer."""
    counts = counting(prediction)
    there = prediction.representations
    return [
        name for names in SOURCES.values() for key, name in names.items() if there.get(key, False) and not counts[key]
    ]


def source_weights(step: ReasoningStep, present: Mapping[str, bool]) -> SourceWeights:
    """Eq. 3 and 6 multiplied out: a missing source weighs nothing and its twin takes its weight, likewise a grain.

    Args:
        step: With the schedule's two weights.
        present: Which of y_c, y_ct, y_f, y_ft count, see :func:`counting`.
    """
    coarse_present = present.get("y_ct", False) or present.get("y_c", False)
    fine_present = present.get("y_ft", False) or present.get("y_f", False)
    coarse, fine = _share(step.coarse_weight, coarse_present, fine_present)
    caption, picture = _share(step.image2text_weight, present.get("y_ct", False), present.get("y_c", False))
    tags, regions = _share(step.image2text_weight, present.get("y_ft", False), present.get("y_f", False))
    return SourceWeights(
        y_ct=coarse * caption,
        y_c=coarse * picture,
        y_ft=fine * tags,
        y_f=fine * regions,
        coarse_present=coarse_present,
        fine_present=fine_present,
    )


def _share(weight: float, easy_present: bool, hard_present: bool) -> tuple[float, float]:
    """As :func:`~dpe_mner.fusion.priority.share_between`, for one post."""
    if easy_present and hard_present:
        return weight, 1 - weight
    return float(easy_present), float(hard_present)
