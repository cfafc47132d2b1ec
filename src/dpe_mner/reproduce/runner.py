"""Train what a plan lacks, one run after the other; a run that fails leaves the others alone."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dpe_mner.errors import InputError
from dpe_mner.reproduce.controls import control_run, controls_lacking
from dpe_mner.reproduce.plan import Plan, PlannedRun
from dpe_mner.reproduce.predictions import predict_run
from dpe_mner.reproduce.runs import prepare_to_resume
from dpe_mner.reproduce.tables import DEFAULT, Row
from dpe_mner.training.folder import PREDICTIONS
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import Post

Log = Callable[[str], None]
Predict = Callable[[Recipe, Sequence[Post]], None]
Control = Callable[[Recipe, Sequence[Post]], None]


class Train(Protocol):
    """Trains one run into ``recipe.output``."""

    def __call__(self, recipe: Recipe, row: Row, *, resume: bool, log: Log, progress: bool) -> object:
        """Train, or go on from the last finished epoch."""


@dataclass(frozen=True)
class Failure:
    """A run that failed.

    Attributes:
        run: Its name.
        row: Id of its row.
        message: One line.
        error: What was raised.
        ours: Whether it is a fault of ours, not of input or machine.
    """

    run: str
    row: str
    message: str
    error: Exception
    ours: bool


def training_with(glove: Path | None = None) -> Train:
    """How runs are really trained.

    Args:
        glove: Word vectors the BiLSTM-CRF starts from.
    """

    def train_row(recipe: Recipe, row: Row, *, resume: bool, log: Log, progress: bool) -> object:
        try:
            if row.baseline is not None:
                return _train_baseline(recipe, row.baseline, glove, resume=resume, log=log, progress=progress)
            from dpe_mner.training.train import train
        except ImportError as error:
            raise InputError(f"training needs {error.name}; run 'pip install dpe-mner[train]'") from None
        return train(recipe, resume=resume, log=log, progress=progress)

    return train_row


def _train_baseline(recipe: Recipe, kind: str, glove: Path | None, **options: Any) -> object:
    from dpe_mner.baselines.settings import BaselineSettings, BilstmSettings
    from dpe_mner.baselines.train import train_baseline

    settings = BaselineSettings()
    if glove is not None and kind == "bilstm-crf":
        with glove.open(encoding="utf-8", errors="replace") as stream:
            width = len(stream.readline().split(" ")) - 1
        settings = BaselineSettings(bilstm=BilstmSettings(glove=str(glove), word_size=max(width, 1)))
    return train_baseline(recipe, kind, settings=settings, **options)


def run_plan(
    plan: Plan,
    *,
    train: Train,
    predict: Predict = predict_run,
    control: Control = control_run,
    log: Log = print,
    progress: bool = False,
) -> list[Failure]:
    """Train, predict and hold against controls whatever is missing.

    Args:
        plan: What to do.
        train: Trains a run.
        predict: Writes a finished run's predictions.
        control: Writes a finished run's controls.
        log: Receives lines.
        progress: Show progress bars.

    Returns:
        What failed. A full disk ends the work early, for the next run would meet it too.
    """
    failures: list[Failure] = []
    total, done = len(plan.to_do), 0
    for run in plan.runs:
        if run.state != "finished" and not run.wanted:
            continue
        try:
            if run.to_do:
                done += 1
                _train(run, train, log=log, progress=progress, place=f"{done}/{total}")
            if not (Path(run.recipe.output) / PREDICTIONS).is_file():
                predict(run.recipe, posts_of(run, plan))
            if controls_lacking(Path(run.recipe.output)):
                _control(run, plan, control, log=log)
        except Exception as error:
            full = disk_is_full(error, Path(run.recipe.output))
            failures.append(_failure(run, error, full=full))
            log(f"warning: {run.name}: {failures[-1].message}")
            if full:
                break
    return failures


def _train(run: PlannedRun, train: Train, *, log: Log, progress: bool, place: str) -> None:
    folder = Path(run.recipe.output)
    resume = run.state == "interrupted" and prepare_to_resume(folder)
    log(f"[{place}] {run.name}: {'goes on in' if resume else 'into'} {folder}")
    train(run.recipe, run.row, resume=resume, log=lambda line: log(f"[{place}] {run.name}: {line}"), progress=progress)


def _control(run: PlannedRun, plan: Plan, control: Control, *, log: Log) -> None:
    """Compute controls. A run of another version whose weights this one cannot load keeps its figures without them."""
    log(f"{run.name}: controls")
    try:
        control(run.recipe, posts_of(run, plan))
    except InputError as error:
        log(f"warning: {run.name}: no controls: {error}")


def posts_of(run: PlannedRun, plan: Plan) -> Sequence[Post]:
    """Validation posts as a run reads them: one that was trained without captions must not be given any."""
    from dpe_mner.training.sources import load_split

    if run.recipe.data == plan.experiment.recipe(Row(DEFAULT, ""), run.seed).data:
        return plan.valid.posts
    return load_split(run.recipe, "valid").posts


def _failure(run: PlannedRun, error: Exception, *, full: bool) -> Failure:
    if full:
        message = f"{run.recipe.output}: no space left on the disk; free some and run the same command again"
    elif isinstance(error, InputError):
        message = str(error)
    elif isinstance(error, OSError):
        message = f"{error.filename or run.recipe.output}: {error.strerror or error}"
    else:
        message = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return Failure(run.name, run.row.id, message, error, ours=not full and not isinstance(error, InputError | OSError))


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error comes from a full disk; the libraries that write weights have errors of their own for it."""
    if isinstance(error, InputError):
        return False
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if "no space left" in str(error).lower() or "os error 28" in str(error):
        return True
    if "write" not in str(error).lower():
        return False
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(place).free < 2**20
