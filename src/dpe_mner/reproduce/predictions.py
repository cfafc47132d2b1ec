"""``predictions.jsonl`` of a run: the validation posts in order, in the Predictions format of ``dpe-mner predict``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpe_mner.data.gold import CharacterSpan
from dpe_mner.errors import InputError
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import Post, Prediction

FILE = "predictions.jsonl"


def write_predictions(recipe: Recipe, posts: Sequence[Post]) -> None:
    """Predict with a finished run's checkpoint; the file appears whole or not at all.

    Args:
        recipe: Of the run.
        posts: Validation posts.
    """
    folder = Path(recipe.output)
    partial = folder / f"{FILE}.partial"
    with partial.open("w", encoding="utf-8") as stream:
        for prediction in _predict(recipe, folder, posts):
            stream.write(json.dumps(prediction.as_dict(), ensure_ascii=False) + "\n")
    os.replace(partial, folder / FILE)


def _predict(recipe: Recipe, folder: Path, posts: Sequence[Post]) -> Iterable[Prediction]:
    if (folder / "baseline.json").is_file():
        from dpe_mner.baselines.checkpoint import load_baseline
        from dpe_mner.baselines.predict import predict_posts

        return predict_posts(load_baseline(folder), posts, batch_size=recipe.training.eval_batch_size)
    from dpe_mner.checkpoint import load_checkpoint
    from dpe_mner.predictor import PredictionOptions, Predictor
    from dpe_mner.training.pictures import best_device
    from dpe_mner.training.run import attach_pictures

    model = load_checkpoint(str(folder), device=best_device())
    attach_pictures(recipe.model_copy(update={"settings": model.settings}), model)
    assert model.pieces is not None
    options = PredictionOptions(batch_size=recipe.training.eval_batch_size)
    return Predictor(model, model.pieces, model.pictures)(posts, options)


def read_predictions(folder: Path, posts: Sequence[Post]) -> list[list[CharacterSpan]]:
    """The entities of each post, in order.

    Args:
        folder: Of a run.
        posts: What was predicted.

    Raises:
        InputError: If the file is not of these posts, naming the line.
    """
    path = folder / FILE
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
