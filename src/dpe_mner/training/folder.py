"""What a training run leaves in its folder, whatever was trained; files that others read appear whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dpe_mner.data.dataset import Dataset
from dpe_mner.data.writing import write_whole
from dpe_mner.evaluation.score import Report
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import Prediction
from dpe_mner.version import __version__

RECIPE, METRICS, HISTORY, PREDICTIONS = "recipe.yaml", "metrics.json", "history.jsonl", "predictions.jsonl"


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
    lines = (json.dumps(prediction.as_dict(), ensure_ascii=False) + "\n" for prediction in predictions)
    write_whole(folder / PREDICTIONS, "".join(lines))
