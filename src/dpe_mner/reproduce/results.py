"""From finished runs to the figures of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

from dpe_mner.data.gold import CharacterSpan, gold_of_posts
from dpe_mner.errors import InputError
from dpe_mner.evaluation.score import PostCounts, count
from dpe_mner.evaluation.significance import paired_randomization
from dpe_mner.reproduce.asked import SEED, asked_rows, read_asked
from dpe_mner.reproduce.controls import Controls, read_controls
from dpe_mner.reproduce.paper import TYPES, PaperFigures, paper_figures
from dpe_mner.reproduce.plan import Plan
from dpe_mner.reproduce.predictions import read_predictions
from dpe_mner.reproduce.tables import DEFAULT, Row, Table
from dpe_mner.training.folder import METRICS, PREDICTIONS, read_metrics

_TOLERANCE = 0.5  # points of F1 that another machine's rounding may make

Status = Literal["run", "same", "missing", "failed", "needs", "elsewhere"]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        seed: Of training.
        counts: On each validation post.
        seconds: Of training.
        controls: If they were computed.
        machine: Device and PyTorch it was trained with, as far as it says so; empty for what was not trained.
    """

    seed: int
    counts: PostCounts
    seconds: float
    controls: Controls | None = None
    machine: str = ""


@dataclass(frozen=True)
class Figures:
    """A row's figures, in percent; means over its seeds.

    Attributes:
        f1: Micro F1.
        precision: Micro precision.
        recall: Micro recall.
        per_type: F1 of each type.
        spread: Standard deviation of F1 over seeds (n - 1); None with one seed.
        delta: F1 less the default's, over the seeds both have; None where the default has none of them.
        p: Of that difference, see :mod:`dpe_mner.evaluation.significance`; not corrected for many comparisons.
        f1_by_seed: F1 of each seed.
        exchanged: F1 with the captions, tags or pictures of other posts, and ``all`` of them; what every seed has.
        mean_state: F1 with H_m at its mean; None unless every seed has it.
    """

    f1: float
    precision: float
    recall: float
    per_type: Mapping[str, float]
    spread: float | None
    delta: float | None
    p: float | None
    f1_by_seed: Mapping[int, float]
    exchanged: Mapping[str, float] = field(default_factory=dict)
    mean_state: float | None = None


@dataclass(frozen=True)
class RowResult:
    """One row of a table.

    Attributes:
        row: What it is.
        status: ``run``: figures of its own; ``same``: the run of another row by construction; ``missing``, ``failed``;
            ``needs``: the data lack what it reads; ``elsewhere``: not part of this package.
        remark: Why it has no figures, or which seeds are missing.
        figures: With status ``run``.
        paper: What the paper prints.
        paper_delta: The paper's F1 less its default's.
        same_as: With status ``same``, the id of that row.
        runs: The finished runs.
    """

    row: Row
    status: Status
    remark: str = ""
    figures: Figures | None = None
    paper: PaperFigures | None = None
    paper_delta: float | None = None
    same_as: str | None = None
    runs: list[Run] = field(default_factory=list)

    @property
    def incomplete(self) -> bool:
        """Whether runs are missing."""
        return self.status in ("missing", "failed") or (self.figures is not None and self.remark != "")


@dataclass(frozen=True)
class Note:
    """A sentence for under a table; its details are for files, too long for a terminal."""

    text: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.details}." if self.details else self.text


@dataclass(frozen=True)
class TableResult:
    """A table with its figures and what must be said about them."""

    table: Table
    dataset: str
    labels: tuple[str, ...]
    rows: list[RowResult]
    notes: list[Note]
    seeds: tuple[int, ...]

    @property
    def partial(self) -> bool:
        """Whether runs are missing."""
        return any(row.incomplete for row in self.rows)


def score_runs(plan: Plan) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Count what finished runs predicted.

    Args:
        plan: Gives the runs; whatever is finished by now counts.

    Returns:
        The runs of each row by its id; and for each run whose predictions do not serve, by its name, why.
    """
    gold = gold_of_posts(plan.valid.posts)
    found: dict[str, list[Run]] = {}
    failed: dict[str, str] = {}
    for run in plan.runs:
        folder = Path(run.recipe.output)
        metrics = read_metrics(folder)
        if metrics is None or not (folder / PREDICTIONS).is_file():
            continue
        try:
            counted = _counted(folder, plan, gold, f1=metrics["f1"])
        except InputError as error:
            failed[run.name] = str(error)
            continue
        found.setdefault(run.row.id, []).append(
            Run(
                run.seed,
                counted,
                float(metrics.get("seconds", 0.0)),
                read_controls(folder),
                f"{metrics.get('device', 'device not known')}, torch {metrics.get('torch_version', 'not known')}",
            )
        )
    for row, folder in asked_rows(plan.tables, plan.experiment.folder):
        try:
            metrics = read_asked(folder, valid_sha256=plan.valid.sha256)
            counted = _counted(folder, plan, gold, f1=metrics["f1"])
        except InputError as error:
            failed[_asked_name(row)] = str(error).replace("it is made again", "dpe-mner baseline llm makes it again")
        else:
            found[row.id] = [Run(SEED, counted, seconds=0.0)]
    return found, failed


def _asked_name(row: Row) -> str:
    return f"{row.id} seed {SEED}"


def _counted(folder: Path, plan: Plan, gold: Sequence[Set[CharacterSpan]], *, f1: float) -> PostCounts:
    try:
        counted = count(gold, read_predictions(folder, plan.valid.posts), labels_of(plan))
    except KeyError as error:
        raise InputError(f"{folder / PREDICTIONS}: label {error} is not in the data; remove the file") from None
    now = counted.report().overall.f1
    if abs(now - f1) > _TOLERANCE:
        raise InputError(
            f"{folder / PREDICTIONS}: F1 {now:.2f}, but {METRICS} says {f1:.2f}; remove the file, it is made again"
        )
    return counted


def collect(plan: Plan, runs: Mapping[str, list[Run]], failed: Mapping[str, str]) -> dict[int, list[RowResult]]:
    """The rows of every table of a plan.

    Args:
        plan: What was to be done.
        runs: Finished ones of each row, by its id.
        failed: Message of each run that failed, by its name.

    Returns:
        By the table's number, all rows, those that exist only in the paper too.
    """
    p = {name: _significance(found, runs.get(DEFAULT, [])) for name, found in runs.items() if name != DEFAULT}
    results = {}
    for table in plan.tables:
        default = paper_figures(table.number, DEFAULT, plan.experiment.dataset)
        results[table.number] = [
            _row(table, row, plan, runs, p.get(row.id), failed, default.f1 if default else None) for row in table.rows
        ]
    return results


def labels_of(plan: Plan) -> tuple[str, ...]:
    """Types of the data, the paper's first and in its order."""
    found = {*plan.train.labels, *plan.valid.labels}
    return (*(label for label in TYPES if label in found), *sorted(found - set(TYPES)))


def figures_of(runs: Sequence[Run], default: Sequence[Run], p: float | None) -> Figures:
    """Means over seeds, their spread and the difference to the default."""
    reports = {run.seed: run.counts.report() for run in runs}
    f1 = {seed: report.overall.f1 for seed, report in reports.items()}
    base = {run.seed: run.counts.report().overall.f1 for run in default}
    shared = [seed for seed in f1 if seed in base]
    labels = runs[0].counts.labels
    exchanged, mean_state = _under_controls([run.controls for run in runs])
    return Figures(
        f1=mean(f1.values()),
        precision=mean(report.overall.precision for report in reports.values()),
        recall=mean(report.overall.recall for report in reports.values()),
        per_type={label: mean(report.per_type[label].f1 for report in reports.values()) for label in labels},
        spread=stdev(f1.values()) if len(f1) > 1 else None,
        delta=mean(f1[seed] - base[seed] for seed in shared) if shared else None,
        p=p,
        f1_by_seed=f1,
        exchanged=exchanged,
        mean_state=mean_state,
    )


def _under_controls(controls: Sequence[Controls | None]) -> tuple[dict[str, float], float | None]:
    """Means over seeds; a control that a seed lacks has none, for it could not be held against the row's F1."""
    found = [one for one in controls if one is not None]
    if len(found) < len(controls):
        return {}, None
    parts = [part for part in found[0].exchanged if all(part in one.exchanged for one in found)]
    means = [one.mean_state for one in found if one.mean_state is not None]
    return (
        {part: mean(one.exchanged[part] for one in found) for part in parts},
        mean(means) if len(means) == len(found) else None,
    )


def _row(
    table: Table,
    row: Row,
    plan: Plan,
    runs: Mapping[str, list[Run]],
    p: float | None,
    failed: Mapping[str, str],
    paper_default: float | None,
) -> RowResult:
    paper = paper_figures(table.number, row.id, plan.experiment.dataset)
    delta = round(paper.f1 - paper_default, 2) if paper and paper_default and row.id != DEFAULT else None
    return replace(_own(row, plan, runs, p, failed), paper=paper, paper_delta=delta)


def _own(row: Row, plan: Plan, runs: Mapping[str, list[Run]], p: float | None, failed: Mapping[str, str]) -> RowResult:
    """A row without the paper's side."""
    planned = plan.rows.get(row.id)
    if planned is None and row.id in runs:
        return RowResult(row, "run", figures=figures_of(runs[row.id], runs.get(DEFAULT, []), p), runs=runs[row.id])
    if planned is None and _asked_name(row) in failed:
        return RowResult(row, "failed", failed[_asked_name(row)])
    if planned is None:
        return RowResult(row, "elsewhere", "not run here")
    if planned.problem is not None:
        return RowResult(row, "failed", planned.problem)
    if planned.needs is not None:
        return RowResult(row, "needs", planned.needs.partition(":")[0])
    if planned.same_as is not None:
        remark = f"same as {planned.same_as}: {planned.reason}"
        return RowResult(row, "same", remark, same_as=planned.same_as)
    found = runs.get(row.id, [])
    lacking = [run for run in planned.runs if run.seed not in {r.seed for r in found}]
    broken = next((failed[run.name] for run in lacking if run.name in failed), None)
    if not found:
        return RowResult(row, "failed", broken) if broken else RowResult(row, "missing", "not run yet")
    figures = figures_of(found, [] if row.id == DEFAULT else runs.get(DEFAULT, []), p)
    seeds = ", ".join(str(run.seed) for run in lacking)
    remark = f"seed {seeds} {'failed' if broken else 'not run yet'}" if lacking else ""
    return RowResult(row, "run", remark, figures, runs=found)


def _significance(runs: Sequence[Run], default: Sequence[Run]) -> float | None:
    base = {run.seed: run.counts for run in default}
    pairs = [(run.counts, base[run.seed]) for run in runs if run.seed in base]
    if not pairs:
        return None
    one, other = zip(*pairs, strict=True)
    return paired_randomization(one, other)
