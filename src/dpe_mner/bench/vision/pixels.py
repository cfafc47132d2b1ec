"""Real photographs decide: a made-up name is a person or a thing, as an object detector sees the post's picture.

The pictures are any folder's; of each, one part at a time is given to the model: the grid of an image backbone, the
regions, or the tags. Pictures are split between training and validation, so that nothing can be learned by heart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from dpe_mner.bench.vision.made_up import NAMES, Posed, with_names
from dpe_mner.errors import InputError
from dpe_mner.pictures.extract import picture_files
from dpe_mner.pictures.kinds import Detection, PictureParts
from dpe_mner.pictures.opening import PictureError, open_picture
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.settings import PictureSettings
from dpe_mner.types import LabelledSpan, Post

Part = Literal["grid", "regions", "tags"]
PARTS: tuple[Part, ...] = get_args(Part)
SURE, SEEN = 0.8, 0.3  # a detection's score: certainly there, and possibly there
_TOGETHER, _VALIDATED = 16, 4  # pictures read at once; every fourth picture validates
_LEAST = 20  # pictures of each kind


def read_pictures(folder: Path, *, backbone: str, detector: str) -> dict[str, PictureParts]:
    """Grid, regions and tags of every picture of a folder that can be read, by file name.

    Args:
        folder: Of pictures.
        backbone: Folder or hub id of an image backbone.
        detector: Of an object detector.

    Raises:
        InputError: If the folder holds none, or a model cannot be loaded.
    """
    found = {"model": detector, "threshold": SEEN}
    settings = PictureSettings.model_validate(
        {"grid": {"model": backbone}, "tags": found, "regions": {"detector": found, "count": 3, "pool": 2}}
    )
    reader = PictureReader(settings)
    for kind in PARTS:
        problem = reader.problem(kind)
        if problem is not None:
            raise InputError(f"bench: {problem}")
    parts: dict[str, PictureParts] = {}
    files = picture_files(folder)
    for start in range(0, len(files), _TOGETHER):
        opened = {}
        for path in files[start : start + _TOGETHER]:
            try:
                opened[path.name] = open_picture(path)
            except PictureError:
                continue
        parts |= zip(opened, reader(list(opened.values())), strict=True)
    return parts


def judge(tags: Sequence[Detection]) -> str | None:
    """PER where a person certainly is, MISC where only other things are seen, None where it is unclear."""
    people = [tag.score for tag in tags if tag.label == "person"]
    if people and max(people) >= SURE:
        return "PER"
    return "MISC" if tags and not people else None


def pixels_decide(
    pictures: Mapping[str, PictureParts], part: Part, *, seed: int, train: int = 2000, valid: int = 300
) -> Posed:
    """Draw posts of one name each, whose type is what its picture shows.

    Args:
        pictures: From :func:`read_pictures`.
        part: What the model gets of them.
        seed: Of all that is drawn.
        train: Training posts.
        valid: Validation posts.

    Raises:
        InputError: If too few pictures are clear.
    """
    generator = np.random.default_rng([PARTS.index(part), seed])
    kinds: dict[str, list[str]] = {"PER": [], "MISC": []}
    for name, parts in pictures.items():
        kind = judge(parts.tags or ())
        if kind is not None:
            kinds[kind].append(name)
    if min(map(len, kinds.values())) < _LEAST:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items())
        raise InputError(f"bench: too few clear pictures ({counts}; {_LEAST} of each wanted); give another folder")
    shown: dict[str, PictureParts] = {}
    split: list[list[Post]] = []
    for number, wanted in enumerate((train, valid)):
        posts = []
        for k in range(wanted):
            kind = ("PER", "MISC")[k % 2]  # as many of each: chance is a half
            own = [name for n, name in enumerate(kinds[kind]) if (n % _VALIDATED == 0) == (number == 1)]
            post = _post(generator, f"{part}-{number}-{k}", kind)
            seen = pictures[own[int(generator.integers(len(own)))]]
            if part == "tags":
                post = replace(post, tags=tuple(tag.label for tag in seen.tags or ()))
            else:
                shown[post.id or ""] = PictureParts(**{part: getattr(seen, part)})
            posts.append(post)
        order = generator.permutation(len(posts))
        split.append([posts[int(k)] for k in order])
    return Posed(split[0], split[1], shown)


def _post(generator: np.random.Generator, id_: str, kind: str) -> Post:
    words, (place,) = with_names(generator, [str(generator.choice(NAMES))])
    return Post(id=id_, words=tuple(words), entities=(LabelledSpan(start=place, end=place + 1, label=kind),))
