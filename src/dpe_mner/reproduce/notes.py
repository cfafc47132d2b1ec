"""What must be said under a table: wherever these figures and the paper's do not mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from dpe_mner.evaluation.significance import SAMPLES
from dpe_mner.reproduce.asked import asked_rows, told_of
from dpe_mner.reproduce.plan import Plan
from dpe_mner.reproduce.results import Note, RowResult
from dpe_mner.reproduce.runs import flatten
from dpe_mner.reproduce.tables import DEFAULT, Row, Table
from dpe_mner.reproduce.vision import NAMES
from dpe_mner.training.folder import read_metrics
from dpe_mner.training.recipe import Recipe


def notes_of(plan: Plan, table: Table, rows: Sequence[RowResult]) -> list[Note]:
    """What to say under a table: what is particular to it first.

    Args:
        plan: What was done.
        table: Which table.
        rows: Its rows.
    """
    experiment = plan.experiment
    recipe = experiment.recipe(Row(DEFAULT, ""), experiment.seeds[0])
    paper = experiment.paper_recipe()
    partial = ["Partial: not all runs are there."] if any(row.incomplete for row in rows) else []
    particular = [*partial, *_longer(recipe, plan, rows), *_without_threshold(plan, rows), *_own_rows(table)]
    particular += _read_by(plan, rows)
    particular += _asked(plan, table, rows)
    common = [_scores(plan, recipe), _encoder(recipe, paper), _vision(plan), _budget(recipe, paper), _spread(plan)]
    common += _controls(rows)
    return [*map(Note, particular), *map(Note, common), _settings(recipe, paper)]


def remarks_of(rows: Sequence[RowResult]) -> list[str]:
    """The remarks of rows, which files have in a column, as lines for the terminal; like ones together."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.remark and row.status != "elsewhere":
            groups.setdefault(row.remark, []).append(row.row.label)
    return [f"{', '.join(labels)}: {remark}." for remark, labels in groups.items()]


def _longer(recipe: Recipe, plan: Plan, rows: Sequence[RowResult]) -> list[str]:
    """Rows with more epochs than the others."""
    epochs = recipe.training.epochs
    start = (
        f"word vectors of {plan.experiment.glove.name} and random weights"
        if plan.experiment.glove
        else "random weights"
    )
    return [
        f"{row.row.label} starts from {start}, so it has {row.row.epochs} times the epochs, {row.row.epochs * epochs}."
        for row in rows
        if row.row.epochs != 1 and row.row.id in plan.rows and row.status != "needs"
    ]


def _scores(plan: Plan, recipe: Recipe) -> str:
    entities = sum(len(post.entities or ()) for post in plan.valid.posts)
    renamed = "".join(f", {old} read as {new}" for old, new in recipe.data.label_map.items())
    return (
        f"Figures here are strict span and type on the validation file ({len(plan.valid.posts)} posts, {entities} "
        f"entities{renamed}, SHA-256 {plan.valid.sha256[:12]}), on which epoch and threshold were selected too; the "
        "paper's are, by the custom of these corpora, on the test file. Compare differences, not levels."
    )


def _encoder(recipe: Recipe, paper: Recipe) -> str:
    if recipe.encoder == paper.encoder:
        return f"Encoder: {recipe.encoder}, as in the paper."
    return f"Encoder: {recipe.encoder}; the paper's is {paper.encoder}."


def _vision(plan: Plan) -> str:
    kinds = plan.vision.kinds
    here = [name for kind, name in NAMES.items() if kind in kinds]
    lacking = [name for kind, name in NAMES.items() if kind not in kinds]
    shown = f"Visual representations here: {', '.join(here) or 'none'}"
    return f"{shown}; the paper also has {', '.join(lacking)}." if lacking else f"{shown}, as in the paper."


def _budget(recipe: Recipe, paper: Recipe) -> str:
    epochs = recipe.training.epochs
    there = paper.training.epochs
    return f"{epochs} epochs a run" + (", as in the paper." if epochs == there else f"; the paper has {there}.")


def _spread(plan: Plan) -> str:
    seeds = plan.experiment.seeds
    named = ", ".join(map(str, seeds))
    spread = f"Seeds {named}; sd: standard deviation of F1 over them."
    if len(seeds) == 1:
        spread = f"Seed {named} alone, so the spread over seeds is unknown."
    return (
        f"{spread} diff: F1 less the default's. p: of diff, two-sided, by approximate randomization over posts "
        f"({SAMPLES} draws), paired by seed; it says whether these trained models differ on these posts, not whether "
        "others would, and is not corrected for the number of rows."
    )


def _own_rows(table: Table) -> list[str]:
    if table.number == 1:
        return ["BERT-Iterative here is this model without vision; the paper's is that of Shen et al. (2023)."]
    if table.number != 2:
        return []
    return [
        "w/o CRM takes the three relevance losses away (eq. 17 to 19; 3.4 of the paper); the relevance stays.",
        "The paper speaks of taking one of them away, of tokens, sentence or spans, but prints no figures.",
    ]


def _read_by(plan: Plan, rows: Sequence[RowResult]) -> list[str]:
    """Which visual representations each system of Table 1 had, in which version, and what others lack."""
    told, lacking = [], []
    for row in rows:
        planned = plan.rows.get(row.row.id)
        if row.row.baseline is None or planned is None:
            continue
        if planned.needs is not None:
            lacking.append(row.row.label)
        elif row.figures is not None:
            metrics = [read_metrics(Path(run.recipe.output)) or {} for run in planned.runs]
            found = next((values for values in metrics if values.get("version")), None)
            if found is not None:
                had = " and ".join(NAMES[name] for name in found["representations"]) or "none"
                told.append(f"{row.row.label} {had} ({found['version']})")
    lines = [f"Visual representations that each had: {', '.join(told)}."] if told else []
    if lacking:
        verb = "reads" if len(lacking) == 1 else "read"
        lines.append(f"{', '.join(lacking)} {verb} features of pictures, which this data lacks; not run.")
    return lines


def _asked(plan: Plan, table: Table, rows: Sequence[RowResult]) -> list[str]:
    """How language models were asked, where they were."""
    shown = {row.row.id for row in rows if row.figures is not None}
    return [told_of(row, folder) for row, folder in asked_rows([table], plan.experiment.folder) if row.id in shown]


def _without_threshold(plan: Plan, rows: Sequence[RowResult]) -> list[str]:
    """Baselines of an earlier version, which knew no threshold."""
    older = []
    for row in rows:
        planned = plan.rows.get(row.row.id)
        if row.figures is None or row.row.baseline is None or planned is None:
            continue
        metrics = [read_metrics(Path(run.recipe.output)) for run in planned.runs]
        if any(found is not None and "threshold" not in found for found in metrics):
            older.append(row.row.label)
    if not older:
        return []
    return [
        f"{', '.join(older)}: trained by an earlier version, without the calibrated threshold the other rows have; "
        "remove the runs to train them again."
    ]


def _controls(rows: Sequence[RowResult]) -> list[str]:
    """What the columns of controls mean, where there are any."""
    if not any(row.figures and (row.figures.exchanged or row.figures.mean_state is not None) for row in rows):
        return []
    return [
        "exchanged: F1 of the same trained models when every post is given the captions, tags and pictures of other "
        "posts. mean state: their F1 when the state H_m of every span is its mean over all posts, with the threshold "
        "chosen again. What is left then does not come from vision, or from fusion and reasoning."
    ]


def _settings(recipe: Recipe, paper: Recipe) -> Note:
    here, there = _choices(recipe), _choices(paper)
    differing = [key for key in here if here[key] != there.get(key)]
    if not differing:
        return Note("Settings: those of our recipe in the paper's setting.")
    told = ", ".join(f"{key} {_value(here[key])} ({_value(there.get(key))})" for key in differing)
    return Note(
        f"{len(differing)} settings differ from our recipe in the paper's setting",
        f"{told}; that recipe's in brackets, of which the paper prints batch size, learning rate, time steps, spans "
        "and the three lambdas",
    )


def _choices(recipe: Recipe) -> dict[str, object]:
    values = recipe.model_dump()
    flat = flatten({key: values[key] for key in ("settings", "training")})
    told_elsewhere = {"training.seed", "training.epochs"}
    return {key: value for key, value in flat.items() if key not in told_elsewhere and "pictures." not in key}


def _value(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
