"""What a training run leaves in its folder, whatever was trained; files that others read appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dpe_mner.data.dataset import Dataset
from dpe_mner.data.jsonl import json_line
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.evaluation.score import Report
from dpe_mner.training.kept_epochs import CHECKPOINTS
from dpe_mner.training.recipe import Recipe
from dpe_mner.training.sources import Corpus
from dpe_mner.training.unique_yaml import load_yaml
from dpe_mner.types import Prediction
from dpe_mner.version import __version__

RECIPE, METRICS, HISTORY, PREDICTIONS = "recipe.yaml", "metrics.json", "history.jsonl", "predictions.jsonl"
TABLES = "tables"  # posts that were handed over in Python


def make_folder(folder: Path) -> None:
    """Make the folder of a run.

    Raises:
        InputError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from None


_PICTURES, _SILVER = "pictures", {"silver.jsonl", "silver.json"}


def refuse_overwriting(folder: Path, read: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Refuse an output that cannot be written, or that holds anything but a run, while it costs nothing.

    Args:
        folder: Output of the run.
        read: Files that the run reads.

    Raises:
        InputError: Saying what lies there.
    """
    other = "choose another --output"
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise InputError(f"{folder}: is a file, not the folder of a run; {other}")
        there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        for name in read:
            if any(os.path.samefile(name, folder / known) for known in there & {RECIPE, METRICS, "README.md"}):
                raise InputError(f"{folder}: the run would write over {name}, which it reads; {other}")
        part = folder.absolute()
        while not part.exists():  # the nearest folder that is there; a name that is too long fails here too
            part = part.parent
        if not part.is_dir() or not os.access(part, os.W_OK):
            raise InputError(f"{folder}: cannot be written ({part} is no folder, or read-only); {other}")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    begun = HISTORY in there or any((folder / CHECKPOINTS).glob("checkpoint-*")) or read_metrics(folder) is not None
    if begun:
        return
    # A run's own recipe is the mark of one that ended in its first epoch; the card comes last of all.
    own = RECIPE in there and _is_written(folder / RECIPE)
    foreign = sorted(there & {"README.md", METRICS} if own else there - {_PICTURES, TABLES} - _SILVER)
    if foreign:
        raise InputError(f"{folder}: holds {foreign[0]}, and no run; {other}, or an empty folder")


def _is_written(recipe: Path) -> bool:
    """Whether a recipe was written by a run, with every section, not by a user who names what differs."""
    try:
        values = load_yaml(recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(values, dict) and set(Recipe.model_fields) <= {*values, "name"}


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Write ``recipe.yaml``."""
    write_whole(folder / RECIPE, yaml.safe_dump(recipe.model_dump(), sort_keys=False))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """``history.jsonl``: one entry an epoch."""
    return [json.loads(line) for line in (folder / HISTORY).read_text(encoding="utf-8").splitlines()]


def common_metrics(recipe: Recipe, report: Report, *, train: Dataset, valid: Dataset, seconds: float) -> dict[str, Any]:
    """What every run's metrics hold: the score, its history, and what it depends on.

    Args:
        recipe: Of the run; its folder holds the history.
        report: On the validation posts.
        train: Training posts.
        valid: Validation posts.
        seconds: Of training.
    """
    import torch

    history = read_history(Path(recipe.output))
    return {
        "f1": report.overall.f1,
        "validation": report.as_dict(),
        "best_epoch": max(history, key=lambda entry: entry["f1"])["epoch"],
        "history": history,
        "seed": recipe.training.seed,
        "seconds": round(seconds, 1),
        "train_sha256": train.sha256,
        "valid_sha256": valid.sha256,
        "train_posts": len(train.posts),
        "package_version": __version__,
        "torch_version": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def source_metrics(corpus: Corpus, report: Report) -> dict[str, Any]:
    """What the metrics of a run with several corpora hold of each."""
    convention = corpus.convention
    return {
        "name": corpus.name,
        "convention": None if convention is None else convention.name,
        "unannotated": [] if convention is None else list(convention.unannotated),
        "train_posts": len(corpus.train.posts),
        "train_sha256": corpus.train.sha256,
        "valid_posts": len(corpus.valid.posts),
        "valid_sha256": corpus.valid.sha256,
        "validation": report.as_dict(),
    }


def write_metrics(metrics: dict[str, Any], folder: Path) -> None:
    """Write ``metrics.json``, which makes a run a finished one."""
    write_whole(folder / METRICS, json.dumps(metrics, indent=2) + "\n")


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """``metrics.json`` of a finished run; None when it is missing or was cut off while written."""
    try:
        values = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and "f1" in values else None


def write_predictions(predictions: Iterable[Prediction], folder: Path) -> None:
    """Write ``predictions.jsonl``, in the Predictions format of ``dpe-mner predict``."""
    lines = (json_line(prediction.as_dict()) for prediction in predictions)
    write_whole(folder / PREDICTIONS, "".join(lines))
