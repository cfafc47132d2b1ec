"""A baseline's run from the recipe of our model to metrics and predictions."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from dpe_mner.baselines.build import BILSTM_CRF, BuiltBaseline, build_baseline, check_kind
from dpe_mner.baselines.predict import predict_posts, score_predictions
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.trainer import WEIGHTS, BaselineTrainer, load_weights
from dpe_mner.checkpoint import check_known_labels
from dpe_mner.data.dataset import Dataset
from dpe_mner.training.examples import make_examples
from dpe_mner.training.recipe import Recipe, resolve_encoder
from dpe_mner.training.run import checkpoint_to_resume, load_split
from dpe_mner.training.trainer import Log
from dpe_mner.version import __version__


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
        recipe: A recipe of our model: its data, encoder, ``settings.encoder`` and ``training`` are used, captions and
            pictures are not.
        kind: ``bilstm-crf``, ``bert-crf`` or ``bert-span``.
        settings: What the baseline has of its own.
        resume: Go on from the last finished epoch of an interrupted run; a finished one gives its metrics.
        log: Receives a line an epoch.
        progress: Show progress bars.

    Returns:
        The content of ``metrics.json``.

    Raises:
        InputError: If the kind is unknown, or data, encoder, word vectors or output folder do not serve.
    """
    check_kind(kind)
    settings = settings or BaselineSettings()
    recipe = _text_only(recipe)
    output = Path(recipe.output)
    checkpoint = checkpoint_to_resume(output, resume=resume)
    if resume and (output / "metrics.json").exists():
        log(f"{output}: finished already")
        return json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    training_data, validation_data = load_split(recipe, "train"), load_split(recipe, "valid")
    labels = recipe.data.labels or training_data.labels
    for data in (training_data, validation_data):
        check_known_labels(data.labels, labels, where=data.path)
    # A post's own caption and tags are not the text's.
    training_data = _without_vision(training_data)
    set_seed(recipe.training.seed)
    if not progress:
        transformers_logging.disable_progress_bar()
    baseline = build_baseline(
        kind,
        encoder="" if kind == BILSTM_CRF else resolve_encoder(recipe.encoder),
        posts=training_data.posts,
        labels=labels,
        settings=settings,
        encoder_settings=recipe.settings.encoder,
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(), sort_keys=False), encoding="utf-8")
    examples = make_examples(training_data.posts, baseline.pieces, labels)
    trainer = BaselineTrainer(
        baseline=baseline,
        examples=examples,
        posts=_without_vision(validation_data).posts,
        labels=labels,
        settings=settings,
        training=recipe.training,
        output=output,
        log=log,
        progress=progress,
    )
    total = sum(p.numel() for p in baseline.model.parameters())
    log(f"training {kind} on {len(examples)} posts, validating on {len(validation_data.posts)}; {total / 1e6:.1f} M")
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - started
    load_weights(baseline.model, output / WEIGHTS)
    return _finish(recipe, kind, settings, baseline, training_data, validation_data, seconds=seconds, log=log)


def _finish(
    recipe: Recipe,
    kind: str,
    settings: BaselineSettings,
    baseline: BuiltBaseline,
    training_data: Dataset,
    validation_data: Dataset,
    *,
    seconds: float,
    log: Log,
) -> dict[str, Any]:
    """Predict with the chosen weights; write predictions and metrics."""
    output = Path(recipe.output)
    labels = recipe.data.labels or training_data.labels
    posts = _without_vision(validation_data).posts
    predictions = predict_posts(
        baseline.model, baseline.pieces, posts, labels, batch_size=recipe.training.eval_batch_size
    )
    lines = (json.dumps(prediction.as_dict(), ensure_ascii=False) + "\n" for prediction in predictions)
    (output / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
    report = score_predictions(posts, predictions)
    history = [json.loads(line) for line in (output / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    metrics = {
        "name": settings.name or f"{recipe.name}, {kind}",
        "baseline": kind,
        "encoder": None if kind == BILSTM_CRF else recipe.encoder,
        "labels": list(labels),
        "f1": report.overall.f1,
        "validation": report.as_dict(),
        "best_epoch": max(history, key=lambda entry: entry["f1"])["epoch"],
        "history": history,
        "settings": settings.model_dump(),
        "seed": recipe.training.seed,
        "seconds": round(seconds, 1),
        "train_sha256": training_data.sha256,
        "valid_sha256": validation_data.sha256,
        "train_posts": len(training_data.posts),
        "parameters": sum(p.numel() for p in baseline.model.parameters()),
        "package_version": __version__,
        "torch_version": torch.__version__,
    }
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log(f"best epoch {metrics['best_epoch']}: validation F1 {metrics['f1']:.2f}; saved to {output}")
    return metrics


def _text_only(recipe: Recipe) -> Recipe:
    data = recipe.data.model_copy(update={"visual_text": None, "images": None, "features": None})
    return recipe.model_copy(update={"data": data})


def _without_vision(data: Dataset) -> Dataset:
    return replace(data, posts=[replace(post, caption=None, tags=None, image=None) for post in data.posts])
