"""What must be said under a table: wherever these figures and the paper's do not mean the same."""

from __future__ import annotations

from collections.abc import Sequence

from dpe_mner.reproduce.paper import source
from dpe_mner.reproduce.plan import Plan
from dpe_mner.reproduce.results import RowResult
from dpe_mner.reproduce.runs import flatten
from dpe_mner.reproduce.significance import TRIALS
from dpe_mner.reproduce.tables import DEFAULT, Row, Table
from dpe_mner.reproduce.vision import NAMES
from dpe_mner.training.recipe import Recipe

_SHOWN = 60  # characters of a value


def notes_of(plan: Plan, table: Table, rows: Sequence[RowResult]) -> list[str]:
    """Sentences for under a table.

    Args:
        plan: What was done.
        table: Which table.
        rows: Its rows.
    """
    experiment = plan.experiment
    recipe = experiment.recipe(Row(DEFAULT, ""), experiment.seeds[0])
    paper = experiment.paper_recipe()
    return [
        *_partial(rows),
        f"Paper: {source(table.number)}, as printed.",
        _scores(plan),
        _encoder(recipe, paper),
        _vision(plan),
        _budget(recipe, paper, plan, rows),
        _spread(plan, rows),
        *_own_rows(table),
        *_settings(recipe, paper),
    ]


def _partial(rows: Sequence[RowResult]) -> list[str]:
    lacking = [row.row.label for row in rows if row.status in ("missing", "failed") or (row.figures and row.remark)]
    return [f"Partial: runs are missing of {', '.join(lacking)}."] if lacking else []


def _scores(plan: Plan) -> str:
    entities = sum(len(post.entities or ()) for post in plan.valid.posts)
    return (
        f"Figures here are strict span and type on the validation file ({len(plan.valid.posts)} posts, {entities} "
        f"entities, SHA-256 {plan.valid.sha256[:12]}), on which epoch and threshold were selected too; the paper's "
        "are, by the custom of these corpora, on the test file. Compare differences, not levels."
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


def _budget(recipe: Recipe, paper: Recipe, plan: Plan, rows: Sequence[RowResult]) -> str:
    epochs = recipe.training.epochs
    text = f"{epochs} epochs a run; the paper has {paper.training.epochs}."
    if epochs == paper.training.epochs:
        text = f"{epochs} epochs a run, as in the paper."
    longer = [row.row for row in rows if row.row.epochs != 1 and row.row.id in plan.rows]
    return " ".join(
        [text, *(f"{row.label} starts from random weights and has {row.epochs * epochs}." for row in longer)]
    )


def _spread(plan: Plan, rows: Sequence[RowResult]) -> str:
    seeds = plan.experiment.seeds
    named = ", ".join(map(str, seeds))
    spread = "sd is the standard deviation over seeds" if len(seeds) > 1 else "one seed, so its spread is unknown"
    compared = sum(row.figures is not None and row.figures.p is not None for row in rows)
    return (
        f"Seeds {named}; {spread}. diff: F1 less the default's. p: two-sided, approximate randomization over posts "
        f"({TRIALS} trials), paired by seed; it says whether these trained models differ on these posts, not whether "
        f"another seed would, and is not corrected for the {compared} comparisons of this table."
    )


def _own_rows(table: Table) -> list[str]:
    if table.number != 2:
        return []
    return ["The paper describes w/o CRM for tokens, sentence and spans alone, but prints no figures of them."]


def _settings(recipe: Recipe, paper: Recipe) -> list[str]:
    here, there = _choices(recipe), _choices(paper)
    differing = [key for key in here if here[key] != there.get(key)]
    if not differing:
        return ["Settings: the paper's."]
    told = ", ".join(f"{key} {_value(here[key])} ({_value(there.get(key))})" for key in differing)
    return [f"{len(differing)} settings differ from the paper's, which are in brackets: {told}."]


def _choices(recipe: Recipe) -> dict[str, object]:
    values = recipe.model_dump()
    flat = flatten({key: values[key] for key in ("settings", "training")})
    told_elsewhere = {"training.seed", "training.epochs"}
    return {key: value for key, value in flat.items() if key not in told_elsewhere and "pictures." not in key}


def _value(value: object) -> str:
    text = {True: "on", False: "off", None: "none"}.get(value, value) if isinstance(value, bool | None) else value
    return str(text)[:_SHOWN]
