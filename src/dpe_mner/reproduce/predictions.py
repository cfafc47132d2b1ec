"""``predictions.jsonl`` of a run: the validation posts in order, in the Predictions format of ``dpe-mner predict``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpe_mner.data.gold import CharacterSpan
from dpe_mner.errors import InputError
from dpe_mner.training.folder import PREDICTIONS, read_metrics, write_predictions
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import Post, Prediction

if TYPE_CHECKING:
    from dpe_mner.model import DPEMNERModel


def predict_run(recipe: Recipe, posts: Sequence[Post]) -> None:
    """Predict with a finished run's checkpoint and write the answers beside it.

    Args:
        recipe: Of the run.
        posts: Validation posts, as the run reads them.

    Raises:
        InputError: If the checkpoint cannot be loaded.
    """
    folder = Path(recipe.output)
    write_predictions(_predict(recipe, folder, posts), folder)


def _predict(recipe: Recipe, folder: Path, posts: Sequence[Post]) -> Iterable[Prediction]:
    from dpe_mner.training.pictures import best_device

    if "baseline" in (read_metrics(folder) or {}):
        from dpe_mner.baselines.checkpoint import DESCRIPTION, load_baseline
        from dpe_mner.baselines.predict import predict_posts

        if not (folder / DESCRIPTION).is_file():
            raise InputError(
                f"{folder}: no {PREDICTIONS}, and no {DESCRIPTION} to make it with; remove the folder to train again"
            )
        baseline = load_baseline(folder)
        baseline.model.to(best_device())
        return predict_posts(baseline, posts, batch_size=recipe.training.eval_batch_size)
    from dpe_mner.pipeline import PredictionOptions
    from dpe_mner.predictor import Predictor

    model = model_of_run(recipe)
    assert model.tokenizer is not None
    options = PredictionOptions(batch_size=recipe.training.eval_batch_size)
    return Predictor(model, model.tokenizer, model.pictures)(posts, options)


def model_of_run(recipe: Recipe) -> DPEMNERModel:
    """The model a finished run of ours left, with its pictures at hand.

    Raises:
        InputError: If the checkpoint cannot be loaded.
    """
    from dpe_mner.checkpoints.loading import load_checkpoint
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.training.pictures import best_device
    from dpe_mner.training.train import attach_pictures

    model = load_checkpoint(DPEMNERModel, recipe.output, device=best_device())
    attach_pictures(recipe.model_copy(update={"settings": model.settings}), model)
    return model


def read_predictions(folder: Path, posts: Sequence[Post]) -> list[list[CharacterSpan]]:
    """The entities of each post, in order.

    Args:
        folder: Of a run.
        posts: What was predicted.

    Raises:
        InputError: If the file is not of these posts, naming the line.
    """
    path = folder / PREDICTIONS
    found: list[list[CharacterSpan]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found.append([(int(e["start"]), int(e["end"]), str(e["label"])) for e in row["entities"]])
            fits = number <= len(posts) and row["id"] == posts[number - 1].id
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}:{number}: not a prediction; remove the file, it is made again") from None
        if not fits:
            raise InputError(f"{path}:{number}: not the validation file's post; remove the file, it is made again")
    if len(found) != len(posts):
        raise InputError(f"{path}: {len(found)} posts instead of {len(posts)}; remove the file, it is made again")
    return found
