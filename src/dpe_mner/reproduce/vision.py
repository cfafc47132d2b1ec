"""Which visual representations a recipe's data holds, and what settings mean nothing without them.

Image features of grids and regions, captions and tags are rarely all there. A setting that concerns a missing one
changes nothing, to the bit: such rows are the default run by construction and are not trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpe_mner.pictures.kinds import KINDS, REPRESENTATION
from dpe_mner.settings import PictureSettings
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import Post

# As the paper writes them (2.2.2): coarse and fine image features, coarse and fine image2text.
NAMES = {"y_c": "image features", "y_f": "image regions", "y_ct": "captions", "y_ft": "object tags"}
COARSE, FINE = frozenset({"y_c", "y_ct"}), frozenset({"y_f", "y_ft"})


@dataclass(frozen=True)
class Vision:
    """The combinations of visual representations that posts have: captions in some, captions and tags in others."""

    combinations: frozenset[frozenset[str]]

    @property
    def kinds(self) -> frozenset[str]:
        """All that occur."""
        return frozenset().union(*self.combinations)

    @property
    def two_grains(self) -> bool:
        """Whether a post has coarse and fine representations, so that eq. 6 weighs anything."""
        return any(seen & COARSE and seen & FINE for seen in self.combinations)

    @property
    def across_gap(self) -> bool:
        """Whether a post has image and image2text of one grain, so that eq. 3 weighs anything."""
        return any({"y_c", "y_ct"} <= seen or {"y_f", "y_ft"} <= seen for seen in self.combinations)


def vision_of(posts: Iterable[Post], pictures: PictureSettings) -> Vision:
    """What posts bring, and what will be made of their pictures (taken to succeed).

    Args:
        posts: Of training and validation.
        pictures: Which parts are made.
    """
    made = {REPRESENTATION[kind] for kind in KINDS if getattr(pictures, kind) is not None} & NAMES.keys()
    found = set()
    for post in posts:
        own = {name for name, part in (("y_ct", post.caption), ("y_ft", post.tags)) if part}
        found.add(frozenset(own | made))
    return Vision(frozenset(found))


def effective(recipe: Recipe, vision: Vision) -> tuple[Recipe, list[str]]:
    """The recipe without what changes nothing on this data, and why.

    Args:
        recipe: Of a run.
        vision: What its data holds.

    Returns:
        A recipe that gives the same run, and a reason for each kind of setting that was set back.
    """
    values = recipe.model_dump()
    reasons: dict[str, None] = {}
    for idle in _idle(recipe.settings.fusion.model_dump(), vision):
        section = values["settings"][idle.section]
        if section.get(idle.key, idle.neutral) != idle.neutral:
            section[idle.key] = idle.neutral
            reasons[idle.reason] = None
    if not vision.kinds:
        values["data"] |= {"visual_text": None, "images": None, "features": None}
        values["settings"]["pictures"] = PictureSettings().model_dump()
    return Recipe.model_validate(values), list(reasons)


@dataclass(frozen=True)
class _Idle:
    """A setting that nothing depends on, the value it may as well have, and why."""

    section: str
    key: str
    neutral: object
    reason: str


def _idle(fusion: Mapping[str, Any], vision: Vision) -> Iterator[_Idle]:
    if not vision.kinds:
        for key in ("align_token", "align_sentence", "align_span"):
            yield _Idle("loss", key, 0.0, _lacking("visual"))
        for key, neutral in _BLIND.items():
            yield _Idle("fusion", key, neutral, _lacking("visual"))
        return
    for name, kinds in (("coarse", COARSE), ("fine", FINE)):
        if fusion["random_features"] == name and not vision.kinds & kinds:
            yield _Idle("fusion", "random_features", "none", _lacking(f"{name}-grained"))
    if fusion.get("strategy", "dynamic") == "dynamic":
        yield from _idle_priorities(fusion, vision)


def _idle_priorities(fusion: Mapping[str, Any], vision: Vision) -> Iterator[_Idle]:
    if not fusion["prioritize"]:
        for key in ("reverse_gap", "reverse_grain"):
            yield _Idle("fusion", key, False, "nothing is prioritized")
        return
    if not vision.two_grains and fusion["decompose"]:  # the flat fusion weighs a grain even when it is alone
        yield _Idle("fusion", "reverse_grain", False, _why_one_grain(vision))
    if not vision.across_gap:
        yield _Idle("fusion", "reverse_gap", False, "no image features beside captions or tags in this data")


# Fusion settings that only vision meets. Of "prioritize" the draw of first weights depends, and nothing else.
_BLIND: dict[str, object] = {
    "prioritize": True,
    "random_features": "none",
    "reverse_gap": False,
    "reverse_grain": False,
}


def _lacking(what: str) -> str:
    return f"no {what} representation in this data"


def _why_one_grain(vision: Vision) -> str:
    for name, kinds in (("fine-grained", FINE), ("coarse-grained", COARSE)):
        if not vision.kinds & kinds:
            return _lacking(name)
    return "no post of this data has both grains"
