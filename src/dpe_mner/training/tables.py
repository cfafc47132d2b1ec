"""Tables of the datasets library as the files of a run, which it then reads as any others.

So a run's folder holds what it was trained on: it can be resumed, calibrated anew and repeated without the table.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpe_mner.data.addresses import address_kind
from dpe_mner.data.inputs import is_table
from dpe_mner.data.jsonl import json_line
from dpe_mner.data.table import posts_of_table
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.formats.ours import post_object
from dpe_mner.training.folder import TABLES, make_folder
from dpe_mner.training.recipe import Recipe
from dpe_mner.training.sources import Log
from dpe_mner.types import Post

_VALIDATION = ("validation", "valid", "dev")  # what a DatasetDict may call it
_IMAGES = "images"
_SPLIT = "write data={'train': ..., 'validation': ...}; table.train_test_split(0.1) makes two of one"


def splits_of(data: Any, validation: Any) -> dict[str, Any]:
    """The two tables of a run, as ``train`` and ``valid``.

    Args:
        data: A table, or a mapping with ``train`` and ``validation`` (or ``valid``, ``dev``): a ``DatasetDict``.
        validation: A table, where ``data`` is one.

    Raises:
        InputError: If one is missing, or no table.
    """
    train, valid = data, validation
    if isinstance(data, Mapping):
        named = [name for name in _VALIDATION if name in data]
        if validation is not None and named:
            raise InputError(f"data holds {named[0]!r}, and validation is given too; leave one of them out")
        train, valid = data.get("train"), data[named[0]] if named else validation
    for name, table in (("train", train), ("validation", valid)):
        if table is None:
            raise InputError(f"data: there is no {name} table; {_SPLIT}")
        if not is_table(table):
            raise InputError(f"data: {name} is {type(table).__name__}, not a datasets.Dataset; {_SPLIT}")
    return {"train": train, "valid": valid}


def with_tables(recipe: Recipe, tables: Mapping[str, Any], *, resume: bool, log: Log) -> Recipe:
    """Write the tables into the run's folder, and have the recipe read them there.

    Args:
        recipe: What it says of labels stays; its own files are not read.
        tables: ``train`` and ``valid``.
        resume: The run was begun, and on the same posts.
        log: Receives a line for pictures that are not used.

    Raises:
        InputError: If a row is no post, the recipe names sources, or a begun run had other posts.
    """
    if recipe.data.sources:
        raise InputError(f"{recipe.name}: has data.sources, and a table takes the place of one corpus; leave data out")
    data, folder = recipe.data, Path(recipe.output) / TABLES
    keeps = bool(recipe.baseline) or any(recipe.settings.pictures.model_dump(exclude={"longest_side"}).values())
    own = keeps and data.images is None and data.features is None
    make_folder(folder)
    left_out: Counter[str] = Counter()
    found = False
    for name, table in tables.items():
        posts: Iterable[Post] = posts_of_table(table)
        if own:
            posts = [_with_file(post, folder / _IMAGES, f"{name}{k}", left_out) for k, post in enumerate(posts)]
            found = found or any(post.image is not None for post in posts)
        lines = "".join(json_line(post_object(post, left_out)) for post in posts).encode()
        path = folder / f"{name}.jsonl"
        if resume and path.is_file() and path.read_bytes() != lines:
            raise InputError(f"{path}: the run was begun with other posts; give those, or another output")
        write_whole(path, lines)
    for what, count in left_out.items():
        log(f"warning: {count} {what} of the tables are not used")
    named = {key: None if value is None else os.path.abspath(value) for key, value in _elsewhere(recipe).items()}
    if own and found:
        named["images"] = os.path.abspath(folder / _IMAGES)
    files = {"folder": str(folder), "train": "train.jsonl", "valid": "valid.jsonl", "train_format": None}
    return recipe.model_copy(update={"data": data.model_copy(update=files | named)})


def _elsewhere(recipe: Recipe) -> dict[str, str | None]:
    """The other files of the recipe, which stay where they are."""
    data = recipe.data
    return {key: data.path(getattr(data, key)) for key in ("visual_text", "images", "features", "unlabelled")}


def _with_file(post: Post, folder: Path, name: str, left_out: Counter[str]) -> Post:
    """The post with its picture in a file of the run; without it where it cannot be opened."""
    if post.image is None or address_kind(post.image) is not None:
        return post
    from dpe_mner.pictures.opening import PictureError, open_picture

    try:
        picture = open_picture(post.image).image
    except PictureError:
        left_out["pictures that cannot be opened"] += 1
        return replace(post, image=None)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.png"
    if not path.exists():
        picture.save(path)
    return replace(post, image=path.name)
