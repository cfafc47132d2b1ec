"""What is reproduced on: data set, encoder, recipe and seeds; every row's recipe follows from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpe_mner.errors import InputError, nearest
from dpe_mner.reproduce.paper import DATASETS
from dpe_mner.reproduce.tables import Row
from dpe_mner.training.recipe import Recipe, load_recipe
from dpe_mner.training.shipped import shipped_recipe

# A short name of an encoder -> the recipe of ours that was made for it, after the data set's name.
ENCODERS = {"minilm": "-minilm", "bert-base-cased": ""}
PICTURES = {"bert-base-cased": "-pictures"}  # the same of recipes that start from raw pictures
_OWN = ("output", "training.seed")  # keys that the layout of the runs decides


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The settings all rows share.

    Attributes:
        dataset: ``twitter2015`` or ``twitter2017``; chooses the paper's column.
        encoder: Short name of the encoder, part of the folder's name.
        recipe_file: The base recipe.
        overrides: Applied to all rows, as ``--set`` takes them.
        seeds: One run of each row for each.
        folder: Holds a folder for each row, and the tables.
        glove: Word vectors the BiLSTM-CRF starts from.
    """

    dataset: str
    encoder: str
    recipe_file: Path
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    folder: Path
    glove: Path | None = None

    def recipe(self, row: Row, seed: int) -> Recipe:
        """The recipe of a run: the base recipe, what all rows change, what this row changes, the seed, the folder.

        Raises:
            InputError: If a key or value is wrong.
        """
        recipe = load_recipe(self.recipe_file, [*self.overrides, *row.overrides, f"training.seed={seed}"])
        data = recipe.data
        if _reads_pictures(recipe) and data.images is not None and data.features is None:
            # One store for all rows: pictures are read once.
            data = data.model_copy(update={"features": str((self.folder / "pictures.store").absolute())})
        training = recipe.training.model_copy(update={"epochs": recipe.training.epochs * row.epochs})
        return recipe.model_copy(
            update={
                "name": f"{recipe.name}: {row.id}",
                "data": data,
                "training": training,
                "output": str(self.folder / row.id / f"seed{seed}"),
            }
        )

    def paper_recipe(self) -> Recipe:
        """The paper's own setting (3.2) on this data set."""
        return load_recipe(shipped_recipe(self.dataset))


def choose_experiment(
    *,
    output: Path,
    dataset: str | None = None,
    data: Path | None = None,
    images: Path | None = None,
    encoder: str | None = None,
    recipe: Path | None = None,
    seeds: str = "0",
    epochs: int | None = None,
    overrides: Sequence[str] = (),
    glove: Path | None = None,
) -> Experiment:
    """Settle what was left open.

    Args:
        output: Runs go to ``output/<dataset>-<encoder>``.
        dataset: Told from ``recipe`` when not given, else ``twitter2017``.
        data: Folder of the data set; the recipe's when not given.
        images: Folder of its pictures: the recipe is one that starts from them, as the paper's model does.
        encoder: A short name (see :data:`ENCODERS`), a hub id or a folder; ``minilm`` or the recipe's when not given.
        recipe: A base recipe instead of ours.
        seeds: Whole numbers, separated by commas.
        epochs: Of each run; the recipe's when not given.
        overrides: As ``--set`` takes them.
        glove: Word vectors for the BiLSTM-CRF.

    Raises:
        InputError: On a name or number that does not fit.
    """
    chosen = _dataset(dataset, recipe)
    if glove is not None and not glove.is_file():
        raise InputError(f"--glove {glove}: no such file")
    for override in overrides:
        if override.partition("=")[0] in _OWN:
            raise InputError(f"--set {override!r}: use --output and --seeds")
    settled = [f"data.folder={_yaml(str(data))}"] if data is not None else []
    if images is not None:
        _check_images(images, encoder, recipe, overrides)
        # A relative one would count from the data's folder, and what is typed counts from here.
        settled.append(f"data.images={_yaml(str(images.absolute()))}")
    if epochs is not None:
        settled.append(f"training.epochs={epochs}")
    ours = ENCODERS if images is None else PICTURES
    if recipe is None:
        base = shipped_recipe(chosen + ours.get(encoder or "minilm", ENCODERS["minilm"]))
        foreign = encoder if encoder not in (None, *ENCODERS) else None
    else:
        base, foreign = recipe, encoder
    if foreign is not None:
        name = load_recipe(shipped_recipe(chosen + ENCODERS[foreign])).encoder if foreign in ENCODERS else foreign
        settled.append(f"encoder={_yaml(name)}")
    settled += overrides
    return Experiment(
        dataset=chosen,
        encoder=(name := short_name(load_recipe(base, settled).encoder, chosen)),
        recipe_file=base,
        overrides=tuple(settled),
        seeds=_seeds(seeds),
        # Of its own: the rows of the recipe from text files have the same encoder.
        folder=output / f"{chosen}-{name}{'-pictures' if images is not None and recipe is None else ''}",
        glove=glove,
    )


def short_name(encoder: str, dataset: str) -> str:
    """An encoder's name as part of a folder's name: ours where it has one, else the last part of the hub id or path."""
    for name, suffix in ENCODERS.items():
        if load_recipe(shipped_recipe(dataset + suffix)).encoder == encoder:
            return name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(encoder).name) or "encoder"


def _dataset(dataset: str | None, recipe: Path | None) -> str:
    if dataset is not None:
        if dataset not in DATASETS:
            raise InputError(
                f"--dataset {dataset!r}: the paper has none of this name{nearest(dataset, DATASETS)}; "
                f"it has {', '.join(DATASETS)}"
            )
        return dataset
    if recipe is None:
        return "twitter2017"
    loaded = load_recipe(recipe)
    named = [name for name in DATASETS if name in f"{recipe.stem} {loaded.data.folder} {loaded.name}".lower()]
    if len(named) != 1:
        raise InputError(f"{recipe}: does not tell its data set; add --dataset {' or '.join(DATASETS)}")
    return named[0]


def _check_images(images: Path, encoder: str | None, recipe: Path | None, overrides: Sequence[str]) -> None:
    if not images.is_dir():
        raise InputError(f"--images {images}: {'not a folder' if images.exists() else 'no such folder'}")
    if recipe is None and encoder not in PICTURES:
        raise InputError(
            f"--images: no recipe of ours with encoder {encoder or 'minilm'!r} starts from pictures; add --encoder "
            f"{' or '.join(PICTURES)}, or a --recipe with settings.pictures"
        )
    if recipe is not None and not _reads_pictures(load_recipe(recipe, overrides)):
        raise InputError(f"{recipe}: makes nothing of --images; say what in its settings.pictures")


def _reads_pictures(recipe: Recipe) -> bool:
    return any(recipe.settings.pictures.model_dump(exclude={"longest_side"}).values())


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"--seeds {text!r}: expected whole numbers from 0, separated by commas, e.g. 0,1")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _yaml(text: str) -> str:
    """A string that stays one when it is read as YAML."""
    return "'" + text.replace("'", "''") + "'"
