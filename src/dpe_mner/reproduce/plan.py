"""What has to be trained for the tables asked for, what is there already, and what need not be trained at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpe_mner.data.dataset import Dataset
from dpe_mner.errors import InputError
from dpe_mner.reproduce.experiment import Experiment
from dpe_mner.reproduce.runs import State, check_vectors, same_run, state_of
from dpe_mner.reproduce.tables import DEFAULT, TEXT_ONLY, Row, Table, rows_of
from dpe_mner.reproduce.vision import Vision, effective, vision_of
from dpe_mner.training.recipe import Recipe


@dataclass(frozen=True)
class PlannedRun:
    """One training run.

    Attributes:
        row: What it is.
        seed: Of the run.
        recipe: With its output folder.
        state: How far it is.
        wanted: Whether it is to be trained now, if it is not finished.
    """

    row: Row
    seed: int
    recipe: Recipe
    state: State
    wanted: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.row.id} seed {self.seed}"

    @property
    def to_do(self) -> bool:
        """Whether it is to be trained now."""
        return self.wanted and self.state != "finished"


@dataclass(frozen=True)
class RowPlan:
    """A row's runs, or why it has none.

    Attributes:
        row: The row.
        runs: One for each seed.
        same_as: Id of the row whose runs are its own by construction.
        reason: Why they are.
        problem: Why it cannot be run here.
        needs: What this data lack for it; such a row is no failure.
    """

    row: Row
    runs: list[PlannedRun] = field(default_factory=list)
    same_as: str | None = None
    reason: str | None = None
    problem: str | None = None
    needs: str | None = None


@dataclass(frozen=True)
class Plan:
    """Everything to be done.

    Attributes:
        experiment: The shared settings.
        tables: To be made.
        rows: By id, the default first.
        train: Training posts.
        valid: Validation posts, which everything is scored on.
        vision: What the default recipe's data holds.
    """

    experiment: Experiment
    tables: list[Table]
    rows: dict[str, RowPlan]
    train: Dataset
    valid: Dataset
    vision: Vision

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs, a seed of all rows before the next seed: tables are complete early."""
        every = [run for row in self.rows.values() for run in row.runs]
        return sorted(every, key=lambda run: self.experiment.seeds.index(run.seed))

    @property
    def to_do(self) -> list[PlannedRun]:
        """Runs to train now."""
        return [run for run in self.runs if run.to_do]


def make_plan(experiment: Experiment, tables: Sequence[Table], wanted: Collection[str]) -> Plan:
    """Look at recipe, data and folders.

    Args:
        experiment: The shared settings.
        tables: To be made.
        wanted: Ids of the rows to train; the others are shown as far as they are there.

    Raises:
        InputError: If the base recipe or the data is wrong, or a folder holds another run.
    """
    from dpe_mner.training.sources import load_split

    base = experiment.recipe(Row(DEFAULT, ""), experiment.seeds[0])
    if not Path(base.data.path("") or "").is_dir():
        raise InputError(f"{base.data.folder}: no such folder; name that of train.txt and valid.txt with --data FOLDER")
    train, valid = load_split(base, "train"), load_split(base, "valid")
    vision = vision_of([*train.posts, *valid.posts], base.settings.pictures)
    _, lacking = effective(base, vision)
    hashes = {"train": train.sha256, "valid": valid.sha256}
    rows: dict[str, RowPlan] = {}
    trained: dict[str, Recipe] = {}  # effective recipes of rows with runs
    for row in rows_of(tables):
        try:
            recipe = experiment.recipe(row, experiment.seeds[0])
        except InputError as error:
            rows[row.id] = RowPlan(row, problem=str(error))
            continue
        seen = vision if recipe.data == base.data else _vision_of_recipe(recipe)
        if row.baseline is None and set(TEXT_ONLY) <= set(row.overrides) and seen.kinds:
            bring = "the posts' own file has captions or tags; for text only, move them to a file of their own"
            rows[row.id] = RowPlan(row, problem=f"{bring} (data.visual_text)")
            continue
        lacks = _lacks(row, seen)
        if lacks is not None:
            rows[row.id] = RowPlan(row, needs=lacks)
            continue
        reduced, reasons = effective(recipe, seen)
        twin = next(
            (name for name, other in trained.items() if row.baseline is None and same_run(reduced, other)), None
        )
        if twin is not None:
            rows[row.id] = RowPlan(row, same_as=twin, reason="; ".join(_why(recipe, base, reasons, lacking)))
            continue
        if row.baseline is None:
            trained[row.id] = reduced
        rows[row.id] = RowPlan(row, runs=[_planned(experiment, row, seed, hashes, wanted) for seed in experiment.seeds])
    return Plan(experiment=experiment, tables=list(tables), rows=rows, train=train, valid=valid, vision=vision)


def _lacks(row: Row, vision: Vision) -> str | None:
    """What the data lack for a system of Table 1."""
    if row.baseline is None:
        return None
    from dpe_mner.baselines.systems import SYSTEMS

    return SYSTEMS[row.baseline].lacks(row.baseline, vision.kinds)


def _why(recipe: Recipe, base: Recipe, reasons: list[str], lacking: list[str]) -> list[str]:
    """Why a row is another one: by what it sets, by what the data lacks for any row, or because the recipe does so."""
    if same_run(recipe, base):
        return ["the recipe says so already"]
    return reasons or lacking


def _planned(
    experiment: Experiment, row: Row, seed: int, hashes: dict[str, str], wanted: Collection[str]
) -> PlannedRun:
    recipe = experiment.recipe(row, seed)
    if row.baseline is not None:
        from dpe_mner.baselines.inputs import as_recipe_reads

        recipe = as_recipe_reads(recipe, row.baseline)
    state = state_of(recipe, hashes, baseline=row.baseline)
    if row.baseline == "bilstm-crf" and state == "finished":
        check_vectors(Path(recipe.output), experiment.glove)
    return PlannedRun(row, seed, recipe, state, row.id in wanted)


def _vision_of_recipe(recipe: Recipe) -> Vision:
    from dpe_mner.training.sources import load_split

    posts = [post for split in ("train", "valid") for post in load_split(recipe, split).posts]
    return vision_of(posts, recipe.settings.pictures)
