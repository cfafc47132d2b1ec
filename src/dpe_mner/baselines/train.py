"""A baseline's run from the recipe of our model to metrics and predictions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.utils import logging as transformers_logging

from dpe_mner import ranks
from dpe_mner.baselines.build import BuiltBaseline, Description, known_kind, new_baseline
from dpe_mner.baselines.checkpoint import check_same, load_weights, save_description, save_threshold
from dpe_mner.baselines.inputs import Inputs, as_recipe_reads, prepare_inputs
from dpe_mner.baselines.predict import as_read, predict_posts, validate_baseline
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.trainer import BaselineTrainer
from dpe_mner.data.dataset import Dataset
from dpe_mner.data.gold import check_labels
from dpe_mner.errors import InputError
from dpe_mner.settings import parse_section
from dpe_mner.training.examples import Example, make_examples
from dpe_mner.training.folder import (
    common_metrics,
    make_folder,
    read_metrics,
    write_metrics,
    write_predictions,
    write_recipe,
)
from dpe_mner.training.recipe import Recipe, resolve_encoder
from dpe_mner.training.sources import Log, load_splits
from dpe_mner.training.train import checkpoint_to_resume


def train_from_recipe(recipe: Recipe, *, resume: bool = False, log: Log = print, progress: bool = False) -> Any:
    """Train the system that a recipe's ``baseline`` section names, with the settings it gives.

    Returns:
        The content of ``metrics.json``.

    Raises:
        InputError: As :func:`train_baseline`, or if the section names no system.
    """
    section = dict(recipe.baseline)
    kind = section.pop("system", None)
    if not isinstance(kind, str):
        raise InputError(f"{recipe.name}: baseline has no system; write baseline: {{system: umt}}")
    settings = parse_section(BaselineSettings, section, where=f"{recipe.name}, baseline")
    return train_baseline(recipe, kind, settings=settings, resume=resume, log=log, progress=progress)


def train_baseline(
    recipe: Recipe,
    kind: str,
    *,
    settings: BaselineSettings | None = None,
    resume: bool = False,
    log: Log = print,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a baseline, keep the epoch with the best validation F1, and write everything to ``recipe.output``.

    Args:
        recipe: A recipe of our model: its data, encoder, ``settings.encoder`` and ``training`` are used, and of its
            captions, tags and pictures what the system reads.
        kind: A name of :data:`~dpe_mner.baselines.systems.SYSTEMS`.
        settings: What the baseline has of its own.
        resume: Go on from the last finished epoch of an interrupted run; a finished one gives its metrics.
        log: Receives a line an epoch.
        progress: Show progress bars.

    Returns:
        The content of ``metrics.json``.

    Raises:
        InputError: If the kind is unknown, the data lack what the system reads, or data, encoder, word vectors or
            output folder do not serve, or if several processes were started.
    """
    ranks.refuse(f"training the baseline {kind}")
    output = Path(recipe.output)
    known = known_kind(kind)
    finished = read_metrics(output) if resume else None
    checkpoint = checkpoint_to_resume(output, resume=resume, log=log) if finished is None else None
    recipe = as_recipe_reads(recipe, known)
    training_data, validation_data = load_splits(recipe, log=log)
    labels = recipe.data.labels or training_data.labels
    for data in (training_data, validation_data):
        check_labels(data.labels, labels, where=data.path)
    inputs = prepare_inputs(recipe, known, [*training_data.posts, *validation_data.posts], labels, settings, log=log)
    description = Description(
        kind=known,
        labels=labels,
        settings=settings or BaselineSettings(),
        encoder=recipe.settings.encoder,
        pictures=inputs.pictures,
        vision=inputs.sizes,
    )
    if resume:
        check_same(description, output)
    if finished is not None:
        log(f"{output}: finished already")
        return finished
    set_seed(recipe.training.seed)
    if not progress:
        transformers_logging.disable_progress_bar()
    encoder = resolve_encoder(recipe.encoder) if description.has_encoder else ""
    baseline = new_baseline(description, encoder=encoder, posts=training_data.posts, aligned_words=inputs.aligned_words)
    read = [as_read(post, description.system.reads) for post in training_data.posts]
    examples = make_examples(read, baseline.tokenizer, labels, inputs.source, log=log)
    if description.kind in ("bert-span", "cat-mner", "mner-qg"):
        _tell_too_long(examples, description.settings.span.max_length, log=log)
    make_folder(output)
    write_recipe(recipe, output)
    if checkpoint is None:  # else it is there, with the threshold of the best epoch so far
        save_description(baseline, output)
    trainer = BaselineTrainer(
        baseline=baseline,
        examples=examples,
        posts=validation_data.posts,
        training=recipe.training,
        output=output,
        log=log,
        progress=progress,
        pictures=inputs.source,
    )
    log(
        f"training {kind} on {len(examples)} posts, validating on {len(validation_data.posts)}; "
        f"{baseline.parameters / 1e6:.1f} M parameters"
    )
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - started
    load_weights(baseline.model, output)
    return _finish(recipe, baseline, inputs, training_data, validation_data, seconds=seconds, log=log)


def _finish(
    recipe: Recipe,
    baseline: BuiltBaseline,
    inputs: Inputs,
    training_data: Dataset,
    validation_data: Dataset,
    *,
    seconds: float,
    log: Log,
) -> dict[str, Any]:
    """Calibrate and predict with the chosen weights; write threshold, predictions and metrics."""
    output = Path(recipe.output)
    description, posts, batch_size = baseline.description, validation_data.posts, recipe.training.eval_batch_size
    # Once more: weights stored as float16 may score a little differently.
    validation = validate_baseline(baseline, posts, batch_size=batch_size, pictures=inputs.source)
    threshold = validation.threshold
    save_threshold(description, output, threshold)
    found = predict_posts(baseline, posts, batch_size=batch_size, threshold=threshold, pictures=inputs.source)
    write_predictions(found, output)
    metrics = {
        "name": description.settings.name or f"{recipe.name}, {description.kind}",
        "baseline": description.kind,
        "version": description.settings.version if description.system.reads else None,
        "representations": list(inputs.representations),
        "encoder": recipe.encoder if description.has_encoder else None,
        "labels": description.labels,
        **common_metrics(recipe, validation.calibrated, train=training_data, valid=validation_data, seconds=seconds),
        "f1_without_threshold": validation.report.overall.f1,
        "threshold": validation.threshold,
        "settings": description.settings.model_dump(),
        "parameters": baseline.parameters,
    }
    write_metrics(metrics, output)
    log(
        f"best epoch {metrics['best_epoch']}: validation F1 {metrics['f1']:.2f}, "
        f"threshold {validation.threshold}; saved to {output}"
    )
    return metrics


def _tell_too_long(examples: Sequence[Example], longest: int, *, log: Log) -> None:
    lengths = [last - first + 1 for example in examples for first, last, _ in example.gold]
    lost = sum(length > longest for length in lengths)
    if lost:
        log(f"{lost} of {len(lengths)} gold entities are longer than {longest} words (span.max_length): never found")
