"""A training run from its recipe to a finished checkpoint with metrics, curves and a model card."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

from dpe_mner.checkpoints.loading import load_checkpoint, save_checkpoint
from dpe_mner.data.dataset import Dataset, load_dataset
from dpe_mner.data.gold import check_labels
from dpe_mner.data.labels import LabelRules
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.evaluation.answers import require_labels
from dpe_mner.model import DPEMNERModel
from dpe_mner.pages.curves import plot_curves
from dpe_mner.pictures.kinds import KINDS
from dpe_mner.training.examples import make_examples
from dpe_mner.training.folder import (
    HISTORY,
    METRICS,
    RECIPE,
    common_metrics,
    make_folder,
    read_metrics,
    refuse_overwriting,
    write_metrics,
    write_recipe,
)
from dpe_mner.training.model_card import model_card
from dpe_mner.training.pictures import prepare_pictures, store_folder
from dpe_mner.training.recipe import Recipe, load_recipe, resolve_encoder
from dpe_mner.training.sanity import check_splits, lost_gold
from dpe_mner.training.trainer import EntityTrainer, Log
from dpe_mner.training.validate import Validator

STEP_COUNTS = (1, 2, 3, 5)
_WITHOUT_TRAINING = ("settings.reasoning.", "settings.encoder.caption_layers=")


def train(recipe: Recipe, *, resume: bool = False, log: Log = print, progress: bool = False) -> dict[str, Any]:
    """Train, keep the epoch with the best validation F1, calibrate, and write everything to ``recipe.output``.

    Args:
        recipe: The recipe.
        resume: Go on from the last finished epoch of an interrupted run.
        log: Receives a line an epoch.
        progress: Show progress bars.

    Returns:
        The content of ``metrics.json``.

    Raises:
        InputError: If data, encoder or output folder do not serve.
    """
    output = Path(recipe.output)
    checkpoint = checkpoint_to_resume(output, resume=resume)
    training_data, validation_data = load_splits(recipe, log=log)
    settings = prepare_pictures(recipe, [*training_data.posts, *validation_data.posts], log=log)
    recipe = recipe.model_copy(update={"settings": settings})
    labels = recipe.data.labels or training_data.labels
    set_seed(recipe.training.seed)
    if not progress:
        transformers_logging.disable_progress_bar()
    model = DPEMNERModel.from_encoder(resolve_encoder(recipe.encoder), labels=labels, settings=recipe.settings)
    for data in (training_data, validation_data):
        check_labels(data.labels, model.labels, where=data.path)
    attach_pictures(recipe, model)
    assert model.tokenizer is not None
    examples = make_examples(training_data.posts, model.tokenizer, labels, model.pictures)
    for line in lost_gold(training_data, examples):
        log(f"warning: {line}")
    validator = Validator(validation_data.posts, batch_size=recipe.training.eval_batch_size)
    make_folder(output)
    write_recipe(recipe, output)
    trainer = EntityTrainer(
        model=model,
        examples=examples,
        validator=validator,
        training=recipe.training,
        output=output,
        log=log,
        progress=progress,
        store=model.pictures.store if model.pictures is not None else None,
    )
    log(f"training on {len(examples)} posts, validating on {len(validation_data.posts)}; {_parameters(model)}")
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - started
    model = load_checkpoint(DPEMNERModel, str(output / "best"))
    attach_pictures(recipe, model)
    metrics = finish(recipe, model, training_data, validation_data, validator, seconds=seconds, log=log)
    shutil.rmtree(output / "best")
    return metrics


def calibrate(folder: Path, overrides: Iterable[str], *, log: Log = print) -> dict[str, Any]:
    """Change how a finished run reasons (steps, spans, ...) and choose its threshold anew; weights stay.

    Args:
        folder: A run's output.
        overrides: ``settings.reasoning.key=value``, or how many layers read captions.
        log: Receives a line.

    Returns:
        The new content of ``metrics.json``.

    Raises:
        InputError: If the folder holds no finished run, or anything but the reasoning section would change.
    """
    earlier = read_metrics(folder)
    if earlier is None or not (folder / RECIPE).is_file():
        missing = METRICS if earlier is None else RECIPE
        raise InputError(f"{folder}: no {missing}; give the output folder of a finished 'dpe-mner train'")
    for override in overrides:
        if not override.startswith(_WITHOUT_TRAINING):
            raise InputError(f"--set {override!r}: only {' and '.join(_WITHOUT_TRAINING)} can change without training")
    trained = load_recipe(folder / RECIPE, written=True)
    recipe = load_recipe(folder / RECIPE, [*overrides, f"output={folder}"], written=True)
    model = load_checkpoint(DPEMNERModel, str(folder))
    changed = recipe.settings
    model.configure(reasoning=changed.reasoning, encoder={"caption_layers": changed.encoder.caption_layers})
    attach_pictures(recipe, model)
    training_data, validation_data = load_split(recipe, "train"), load_split(recipe, "valid")
    validator = Validator(validation_data.posts, batch_size=recipe.training.eval_batch_size)
    metrics = finish(recipe, model, training_data, validation_data, validator, seconds=earlier["seconds"], log=log)
    recipe = recipe.model_copy(update={"output": trained.output})
    write_recipe(recipe, folder)
    return metrics


def finish(
    recipe: Recipe,
    model: DPEMNERModel,
    training_data: Dataset,
    validation_data: Dataset,
    validator: Validator,
    *,
    seconds: float,
    log: Log,
) -> dict[str, Any]:
    """Score the chosen model at several step counts, calibrate, write checkpoint, metrics, curves and card."""
    output = Path(recipe.output)
    by_steps = {}
    gamma = model.settings.reasoning.steps
    for steps in sorted({*STEP_COUNTS, gamma}):
        found = validator(model, steps=steps)
        by_steps[steps] = {"f1": found.report.overall.f1, "calibrated_f1": found.calibrated.overall.f1}
        if steps == gamma:
            validation = found
    model.configure(decision={"threshold": validation.threshold})
    metrics = {
        "name": recipe.name,
        "encoder": recipe.encoder,
        "labels": model.config.label_names,
        **common_metrics(recipe, validation.calibrated, train=training_data, valid=validation_data, seconds=seconds),
        "f1_without_threshold": validation.report.overall.f1,
        "threshold": validation.threshold,
        "reasoning": model.settings.reasoning.model_dump(),
        "f1_by_steps": by_steps,
        "visual_text": recipe.data.visual_text is not None,
        "pictures": [kind for kind in KINDS if getattr(model.settings.pictures, kind) is not None],
    }
    save_checkpoint(model, output, half=recipe.training.half_precision_weights)
    write_metrics(metrics, output)
    write_whole(output / "README.md", model_card(recipe, metrics))
    plot_curves(metrics["history"], output / "curves.png")
    log(
        f"best epoch {metrics['best_epoch']}: validation F1 {metrics['f1']:.2f}, "
        f"threshold {validation.threshold}; saved to {output}"
    )
    return metrics


def attach_pictures(recipe: Recipe, model: DPEMNERModel) -> None:
    """Let a model read the run's store."""
    if any(getattr(model.settings.pictures, kind) is not None for kind in KINDS):
        model.use_pictures(store=store_folder(recipe), images=recipe.data.path(recipe.data.images))


def load_splits(recipe: Recipe, *, log: Log) -> tuple[Dataset, Dataset]:
    """Training and validation posts; what is odd about them is told in a line each.

    Raises:
        InputError: If nothing can be learned from them, or measured on them.
    """
    rules = recipe.data.rules
    train, valid = load_split(recipe, "train", rules), load_split(recipe, "valid", rules)
    for line in [*check_splits(train, valid), *rules.unused()]:
        log(f"warning: {line}")
    return train, valid


def load_split(recipe: Recipe, split: str, labels: LabelRules | None = None) -> Dataset:
    """The ``train`` or ``valid`` posts of a recipe.

    Args:
        recipe: The recipe.
        split: Which.
        labels: Take note of the labels that are met; the recipe's own rules when not given.

    Raises:
        InputError: If the file is missing or has unlabelled posts.
    """
    data = recipe.data
    path = data.path(getattr(data, split))
    assert path is not None
    dataset = load_dataset(
        path, visual_text=data.path(data.visual_text), images=data.path(data.images), labels=labels or data.rules
    )
    require_labels(dataset)
    return dataset


def checkpoint_to_resume(output: Path, *, resume: bool) -> str | None:
    """The last epoch's checkpoint of an interrupted run, or None for a new run.

    Raises:
        InputError: If there is nothing to resume, or a run that was not asked to go on.
    """
    refuse_overwriting(output)
    folder = output / "checkpoints"
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if resume:
        if last is None:
            raise InputError(f"{output}: nothing to resume; run without --resume first")
        return last
    if (output / HISTORY).exists() or last is not None:
        raise InputError(f"{output}: holds a run already; add --resume, or choose another --output")
    return None


def _parameters(model: DPEMNERModel) -> str:
    total = sum(p.numel() for p in model.parameters())
    encoder = sum(p.numel() for p in model.text_encoder.encoder.parameters())
    return f"{total / 1e6:.1f} M parameters, {encoder / 1e6:.1f} M of them the encoder"
