"""What a system reads of a recipe's data: its captions, tags and pictures, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dpe_mner.baselines.own_words import type_words
from dpe_mner.baselines.settings import BaselineSettings, VisionSizes
from dpe_mner.baselines.systems import NAMES, SYSTEMS
from dpe_mner.errors import InputError
from dpe_mner.pictures.kinds import KINDS, REPRESENTATION, Kind
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.source import PictureSource, picture_source
from dpe_mner.predictor import features_of
from dpe_mner.settings import PictureSettings
from dpe_mner.training.pictures import best_device, prepare_pictures, store_folder
from dpe_mner.training.recipe import Recipe
from dpe_mner.training.sources import Log
from dpe_mner.types import Post

_COUNTS = ("debiascl",)  # reads how many objects a picture has, besides its representations


@dataclass(frozen=True)
class Inputs:
    """What a run reads besides words.

    Attributes:
        representations: Which of the four visual representations its posts have.
        pictures: Settings of the pictures' parts, remembering their weights.
        sizes: Of the image features.
        source: Gives posts the parts of their pictures; None when the system reads none.
        aligned_words: See :class:`~dpe_mner.baselines.network.Parts`.
    """

    representations: tuple[str, ...] = ()
    pictures: PictureSettings = field(default_factory=PictureSettings)
    sizes: VisionSizes = field(default_factory=VisionSizes)
    source: PictureSource | None = None
    aligned_words: Tensor | None = None


def as_recipe_reads(recipe: Recipe, kind: str) -> Recipe:
    """The recipe without the data that a system does not read, so that it need not be there."""
    reads = SYSTEMS[kind].reads
    pictures = recipe.settings.pictures.model_dump()
    if pictures["regions"] is not None and pictures["grid"] is not None:  # regions go through the grid's backbone
        pictures["regions"]["backbone"] = pictures["regions"]["backbone"] or pictures["grid"]["model"]
    for part in KINDS:
        wanted = kind in _COUNTS if part == "objects" else REPRESENTATION[part] in reads
        if not wanted:
            pictures[part] = None
    kept = PictureSettings.model_validate(pictures)
    update: dict[str, object] = {}
    if not {"y_ct", "y_ft"} & set(reads):
        update["visual_text"] = None
    if not _asked(kept):
        update |= {"images": None, "features": None}
    data = recipe.data.model_copy(update=update)
    return recipe.model_copy(update={"data": data, "settings": recipe.settings.model_copy(update={"pictures": kept})})


def prepare_inputs(
    recipe: Recipe,
    kind: str,
    posts: Sequence[Post],
    labels: Sequence[str],
    settings: BaselineSettings | None,
    *,
    log: Log,
) -> Inputs:
    """Make sure that what a system needs is there.

    Args:
        recipe: As :func:`as_recipe_reads` gives it.
        kind: The system.
        posts: Of training and validation.
        labels: Entity types.
        settings: The system's own.
        log: Receives a line.

    Raises:
        InputError: If the data lack what the system cannot do without.
    """
    system = SYSTEMS[kind]
    asked = _asked(recipe.settings.pictures)
    own = {"y_ct": any(post.caption for post in posts), "y_ft": any(post.tags for post in posts)}
    given = {REPRESENTATION[part] for part in asked if part != "objects"} | {name for name in own if own[name]}
    lacking = system.lacks(kind, given)
    if lacking is not None:
        raise InputError(f"{recipe.name}: {lacking}; docs/baselines.md says what each reads")
    found = tuple(name for name in NAMES if name in given and name in system.reads)
    if not asked:
        return Inputs(found)
    pictures = prepare_pictures(recipe, posts, log=log).pictures
    images = recipe.data.path(recipe.data.images)
    source = picture_source(pictures, device=best_device(), store=store_folder(recipe), images=images)
    assert source is not None  # parts are asked for
    sizes = _sizes(source, posts)
    words = None
    if kind == "cat-mner" and pictures.grid is not None:
        words = _aligned_words(source.reader, type_words(labels, (settings or BaselineSettings()).cat_mner.words))
    return Inputs(found, pictures, sizes, source, words)


def _asked(pictures: PictureSettings) -> list[Kind]:
    return [part for part in KINDS if getattr(pictures, part) is not None]


def _sizes(source: PictureSource, posts: Sequence[Post]) -> VisionSizes:
    """Sizes of the features, as the first picture that has them gives them."""
    settings, sizes = source.reader.settings, VisionSizes()
    stages: list[int] = []
    parts: tuple[Kind, ...] = ("grid", "regions")
    for part in parts:
        section = getattr(settings, part)
        if section is not None and section.stages:
            stages = list(source.reader.stage_channels(part))
    wanted = {"coarse": settings.grid, "fine": settings.regions}
    for post in posts:
        if all(section is None or getattr(sizes, name) is not None for name, section in wanted.items()):
            break
        if post.image is None:
            continue
        (seen,) = source([post])
        features = features_of(seen.parts)
        update: dict[str, object] = {}
        if features.coarse is not None:
            update["coarse"] = features.coarse.shape[-1]
        if features.fine is not None and seen.parts.regions is not None:
            update |= {"fine": features.fine.shape[-1], "fine_blocks": seen.parts.regions.features.shape[1]}
        sizes = sizes.model_copy(update=update)
    for name, section in wanted.items():
        if section is not None and getattr(sizes, name) is None:
            raise InputError(f"no picture of this data gives {name} image features; see the warnings above")
    return sizes.model_copy(update={"stages": stages})


def _aligned_words(reader: PictureReader, words: Sequence[str]) -> Tensor:
    """The words of the types in the space of the pictures' blocks.

    Raises:
        InputError: If the pictures' backbone has no text tower, or gives no aligned features.
    """
    grid = reader.settings.grid
    assert grid is not None
    if not grid.aligned:
        raise InputError(
            "cat-mner compares a picture's blocks with words: set settings.pictures.grid.aligned=true with a CLIP or "
            "SigLIP model, or leave the grid out and give captions or tags"
        )
    return torch.from_numpy(reader.encode_words(words)).float()
