"""What is made of one picture, before any network of ours sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["grid", "caption", "regions", "tags", "ocr", "objects"]
KINDS: tuple[Kind, ...] = ("grid", "caption", "regions", "tags", "ocr", "objects")
REPRESENTATION: dict[Kind, str] = {
    "grid": "y_c", "caption": "y_ct", "regions": "y_f", "tags": "y_ft", "ocr": "y_ct", "objects": "object count",
}  # fmt: skip

Half = NDArray[np.float16]
Span = tuple[int, int]  # characters [start, end) of a post's text
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height


@dataclass(frozen=True)
class Detection:
    """An object found in a picture."""

    label: str
    score: float
    box: Box


@dataclass(frozen=True)
class Regions:
    """y_f of one picture.

    Attributes:
        features: In half precision, as they are stored. *Shape:* (R, blocks, channels)
        boxes: Where the R regions lie.
        labels: What the detector or grounding called them.
        phrases: Of grounded regions, where the post's text has the phrase that each answers to, or None; empty where
            no post was asked for. A store does not hold them: equal phrases may stand elsewhere in another post.
    """

    features: Half
    boxes: Sequence[Box]
    labels: Sequence[str]
    phrases: Sequence[Span | None] = ()


@dataclass(frozen=True)
class Objects:
    """How full a picture is.

    Attributes:
        count: All objects a detector finds above its threshold.
        width: Of the upright original, before any reduction, in pixels.
        height: Likewise.
    """

    count: int
    width: int
    height: int

    @property
    def density(self) -> float:
        """Objects per million pixels."""
        return self.count * 1e6 / (self.width * self.height)


@dataclass(frozen=True)
class PictureParts:
    """Everything made of one picture; None is a part that was not asked for or could not be made.

    Attributes:
        grid: y_c. *Shape:* (G, channels)
        caption: For y_ct.
        regions: y_f.
        tags: For y_ft, best first.
        ocr: Text read in the picture; joins y_ct.
        warnings: What could not be made, and why.
        objects: How many objects, in how large a picture.
    """

    grid: Half | None = None
    caption: str | None = None
    regions: Regions | None = None
    tags: Sequence[Detection] | None = None
    ocr: str | None = None
    warnings: Sequence[str] = field(default_factory=tuple)
    objects: Objects | None = None


def crop(image: Image, box: Box, *, least: int = 8) -> Image:
    """The part of a picture inside a box, never smaller than ``least`` pixels a side where the picture allows."""
    width, height = image.size
    left, right = _widened(box[0] * width, box[2] * width, width, least)
    top, bottom = _widened(box[1] * height, box[3] * height, height, least)
    return image.crop((left, top, right, bottom))


def _widened(low: float, high: float, size: int, least: int) -> tuple[int, int]:
    first, last = max(int(low), 0), min(int(np.ceil(high)), size)
    missing = min(least, size) - (last - first)
    if missing > 0:
        first = max(first - missing // 2 - 1, 0)
        last = min(max(last, first + least), size)
        first = max(min(first, last - least), 0)
    return first, last


def clip_box(left: float, top: float, right: float, bottom: float) -> Box:
    """A box inside the picture."""
    left, right = sorted((min(max(left, 0.0), 1.0), min(max(right, 0.0), 1.0)))
    top, bottom = sorted((min(max(top, 0.0), 1.0), min(max(bottom, 0.0), 1.0)))
    return (left, top, right, bottom)
