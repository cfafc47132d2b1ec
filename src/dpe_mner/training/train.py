"""A training run from its recipe to a finished checkpoint with metrics, curves and a model card."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.utils import logging as transformers_logging

from dpe_mner import ranks
from dpe_mner.checkpoints.loading import load_checkpoint, save_checkpoint
from dpe_mner.data.gold import check_labels
from dpe_mner.data.writing import write_whole
from dpe_mner.decoding.candidates import calibrated_scores
from dpe_mner.errors import InputError
from dpe_mner.evaluation.reliability import fit_scores, held_out_error, reliability
from dpe_mner.model import DPEMNERModel
from dpe_mner.pages.curves import plot_curves, plot_reliability
from dpe_mner.pictures.kinds import KINDS
from dpe_mner.settings import DecisionSettings
from dpe_mner.training.examples import Example, make_examples
from dpe_mner.training.folder import (
    HISTORY,
    METRICS,
    RECIPE,
    common_metrics,
    make_folder,
    read_metrics,
    refuse_overwriting,
    source_metrics,
    write_metrics,
    write_recipe,
)
from dpe_mner.training.kept_epochs import last_whole
from dpe_mner.training.model_card import model_card
from dpe_mner.training.pictures import prepare_pictures, store_folder
from dpe_mner.training.recipe import Recipe, load_recipe, resolve_encoder
from dpe_mner.training.silver import SILVER, silver_posts
from dpe_mner.training.sources import Corpus, Log, all_posts, batch_shares, conventions_of, load_corpora
from dpe_mner.training.trainer import EntityTrainer
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

    Several processes that ``torchrun`` or ``accelerate launch`` started share every batch; the first of them writes.

    Returns:
        The content of ``metrics.json``; nothing in a process other than the first.

    Raises:
        InputError: If data, encoder or output folder do not serve.
    """
    ranks.begin()
    if not ranks.is_first():
        log, progress = _silent, False
    output = Path(recipe.output)
    checkpoint = checkpoint_to_resume(output, resume=resume, log=log)
    ranks.meet()  # nobody writes to the folder before all have looked at it
    corpora = load_corpora(recipe.data, log=log)
    training_data = all_posts([corpus.train for corpus in corpora])
    validation_data = all_posts([corpus.valid for corpus in corpora])
    with ranks.first_alone():  # pictures are read once
        settings = prepare_pictures(recipe, [*training_data.posts, *validation_data.posts], log=log)
    recipe = recipe.model_copy(update={"settings": settings})
    labels = recipe.data.labels or training_data.labels
    set_seed(recipe.training.seed)
    if not progress:
        transformers_logging.disable_progress_bar()
    model = DPEMNERModel.from_encoder(
        resolve_encoder(recipe.encoder), labels=labels, settings=recipe.settings, conventions=conventions_of(corpora)
    )
    for data in (training_data, validation_data):
        check_labels(data.labels, model.labels, where=data.path)
    attach_pictures(recipe, model)
    with ranks.first_alone():
        lessons = _lessons(recipe, model, corpora, log=log)
    validator = _validator(recipe, corpora)
    if ranks.is_first():
        make_folder(output)
        write_recipe(recipe, output)
    ranks.meet()
    trainer = EntityTrainer(
        model=model,
        examples=lessons.examples,
        validator=validator,
        training=recipe.training,
        output=output,
        log=log,
        progress=progress,
        store=model.pictures.store if model.pictures is not None else None,
        shares=lessons.shares,
    )
    log(f"training on {len(lessons.examples)} posts, validating on {len(validation_data.posts)}; {_parameters(model)}")
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - started
    ranks.meet()
    if not ranks.is_first():
        return {}
    model = load_checkpoint(DPEMNERModel, str(output / "best"))
    attach_pictures(recipe, model)
    metrics = finish(recipe, model, corpora, validator, seconds=seconds, log=log, silver=lessons.silver)
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
    model.configure(decision=DecisionSettings())  # the scores as the network gives them
    attach_pictures(recipe, model)
    corpora = load_corpora(recipe.data)
    validator = _validator(recipe, corpora)
    metrics = finish(
        recipe, model, corpora, validator, seconds=earlier["seconds"], log=log, silver=earlier.get("silver")
    )
    recipe = recipe.model_copy(update={"output": trained.output})
    write_recipe(recipe, folder)
    return metrics


def finish(
    recipe: Recipe,
    model: DPEMNERModel,
    corpora: Sequence[Corpus],
    validator: Validator,
    *,
    seconds: float,
    log: Log,
    silver: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Score the chosen model at several step counts, calibrate, write checkpoint, metrics, curves and card."""
    output = Path(recipe.output)
    by_steps = {}
    gamma = model.settings.reasoning.steps
    for steps in sorted({*STEP_COUNTS, gamma}):
        found = validator(model, steps=steps)
        by_steps[steps] = {"f1": found.report.overall.f1, "calibrated_f1": found.f1}
        if steps == gamma:
            validation = found
    decision = fit_scores(validation.scores, validation.correct, validation.threshold)
    model.configure(decision=decision)
    training_data = all_posts([corpus.train for corpus in corpora])
    validation_data = all_posts([corpus.valid for corpus in corpora])
    given = validation.scores >= validation.threshold
    reliable = reliability(calibrated_scores(validation.scores[given], decision), validation.correct[given])
    metrics = {
        "name": recipe.name,
        "encoder": recipe.encoder,
        "labels": model.config.label_names,
        **common_metrics(recipe, validation.calibrated, train=training_data, valid=validation_data, seconds=seconds),
        "f1": validation.f1,
        "f1_without_threshold": validation.report.overall.f1,
        "threshold": decision.threshold,
        "decision": decision.model_dump(),
        "reliability": reliable.as_dict()
        | {"held_out_error": held_out_error(validation.scores, validation.correct, validation.threshold)},
        "reasoning": model.settings.reasoning.model_dump(),
        "f1_by_steps": by_steps,
        "visual_text": any(post.caption or post.tags for post in training_data.posts),
        "pictures": [kind for kind in KINDS if getattr(model.settings.pictures, kind) is not None],
    }
    if recipe.data.sources:
        metrics["sources"] = [source_metrics(corpus, validation.by_source[corpus.name]) for corpus in corpora]
    if silver is not None:
        metrics["silver"] = silver
    save_checkpoint(model, output, half=recipe.training.half_precision_weights)
    write_whole(output / "README.md", model_card(recipe, metrics))
    plot_curves(metrics["history"], output / "curves.png")
    plot_reliability(reliable, output / "reliability.png", title=f"{recipe.name}, validation")
    write_metrics(metrics, output)  # last: it makes the run a finished one
    log(
        f"best epoch {metrics['best_epoch']}: validation F1 {metrics['f1']:.2f}, "
        f"threshold {decision.threshold}; saved to {output}"
    )
    return metrics


def attach_pictures(recipe: Recipe, model: DPEMNERModel) -> None:
    """Let a model read the run's store."""
    if any(getattr(model.settings.pictures, kind) is not None for kind in KINDS):
        model.use_pictures(store=store_folder(recipe), images=recipe.data.path(recipe.data.images))


@dataclass(frozen=True)
class _Lessons:
    """What is trained on: examples, the share of each source of them (None: one source), and figures of silver."""

    examples: list[Example]
    shares: list[float] | None
    silver: dict[str, Any] | None


def _lessons(recipe: Recipe, model: DPEMNERModel, corpora: Sequence[Corpus], *, log: Log) -> _Lessons:
    assert model.tokenizer is not None
    posts = [corpus.train.posts for corpus in corpora]
    shares = batch_shares([corpus.share for corpus in corpora], [len(own) for own in posts])
    silver = None
    if recipe.teachers:
        found = silver_posts(recipe, model.labels, model.conventions, _weights(model, corpora), log=log)
        if not found.posts:
            raise InputError(f"{recipe.data.unlabelled}: the teachers agree on no post; lower silver.agreement")
        silver = {"posts": len(found.posts), "read": found.read, "teachers": recipe.teachers}
        own = recipe.silver.share or len(found.posts) / (len(found.posts) + sum(map(len, posts)))
        posts, shares = [*posts, found.posts], [*(share * (1 - own) for share in shares), own]
    examples = [
        example
        for source, own in enumerate(posts)
        for example in make_examples(own, model.tokenizer, model.labels, model.pictures, source=source, log=log)
    ]
    return _Lessons(examples, shares if len(posts) > 1 else None, silver)


def _weights(model: DPEMNERModel, corpora: Sequence[Corpus]) -> list[float]:
    """Training posts of each convention of the model."""
    count = dict.fromkeys(model.conventions, 0.0)
    for corpus in corpora:
        if corpus.convention is not None:
            count[corpus.convention.name] += len(corpus.train.posts)
    return list(count.values())


def _validator(recipe: Recipe, corpora: Sequence[Corpus]) -> Validator:
    sources = [corpus.name for corpus in corpora for _ in corpus.valid.posts] if recipe.data.sources else None
    posts = [post for corpus in corpora for post in corpus.valid.posts]
    return Validator(posts, batch_size=recipe.training.eval_batch_size, sources=sources)


def checkpoint_to_resume(output: Path, *, resume: bool, log: Log) -> str | None:
    """The last epoch's checkpoint of an interrupted run, or None for a new run.

    Args:
        output: Of the run.
        resume: Go on with what is there.
        log: Receives a line where something of it cannot be used.

    Raises:
        InputError: If there is nothing to resume, or a run that was not asked to go on.
    """
    refuse_overwriting(output)
    last = last_whole(output, log=log)
    begun = (output / HISTORY).exists() or last is not None
    if resume and last is None:
        if not begun and not any((output / name).exists() for name in (SILVER, RECIPE)):
            raise InputError(f"{output}: nothing to resume; run without --resume first")
        log(f"{output}: no epoch was finished; beginning anew")
    if begun and not resume:
        raise InputError(f"{output}: holds a run already; add --resume, or choose another --output")
    return None if last is None else str(last)


def _silent(line: str) -> None:
    """Say nothing: the first process does."""


def _parameters(model: DPEMNERModel) -> str:
    total = sum(p.numel() for p in model.parameters())
    encoder = sum(p.numel() for p in model.text_encoder.encoder.parameters())
    return f"{total / 1e6:.1f} M parameters, {encoder / 1e6:.1f} M of them the encoder"
