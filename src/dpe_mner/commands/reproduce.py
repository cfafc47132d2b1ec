"""``dpe-mner reproduce``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpe_mner.commands.console import Stopped, note, wants_progress
from dpe_mner.commands.options import Quiet
from dpe_mner.commands.places import check_folder
from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from dpe_mner.reproduce.plan import Plan, RowPlan
    from dpe_mner.reproduce.render import Grid
    from dpe_mner.reproduce.results import Note, TableResult
    from dpe_mner.reproduce.runner import Failure


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce")(reproduce)


def reproduce(
    table: Annotated[
        list[str] | None, typer.Option("--table", help="1, 2, 3 or 4; may be repeated; all if absent.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="twitter2017 or twitter2015; chooses recipe and paper's column.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the data set; the recipe's if absent.")] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the pictures: train the paper's model, which reads them."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help="minilm (default), bert-base-cased, or any hub id or folder of an encoder."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="Another base recipe than the shipped ones.")] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds of the runs: 0,1,2.")] = "0",
    epochs: Annotated[int | None, typer.Option("--epochs", help="Of each run; the recipe's if absent.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ROW", help="Train this row only; may be repeated.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key of all rows: training.batch_size=32.")
    ] = None,
    glove: Annotated[Path | None, typer.Option("--glove", help="Word vectors for bilstm-crf.")] = None,
    output: Annotated[Path, typer.Option("--output", help="Folder of all runs and tables.")] = Path("runs/reproduce"),
    all_rows: Annotated[
        bool, typer.Option("--all-rows", hidden=True, help="Every row is shown; kept for older scripts.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and the time it takes; train nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """The paper's tables with this code, next to the paper's figures. Stopped, it goes on where it was.

    Example: dpe-mner reproduce --table 2 --data data/twitter2017 --seeds 0,1 --epochs 4

    Example: dpe-mner reproduce --encoder bert-base-cased --data data/twitter2017 --images data/twitter2017_images
    """
    check_folder("--output", output, others=[data, images, recipe, glove])
    from dpe_mner.reproduce.tables import choose_tables

    tables, wanted = choose_tables(table or [], only or [])
    from dpe_mner.reproduce.experiment import choose_experiment

    experiment = choose_experiment(
        output=output,
        dataset=dataset,
        data=data,
        images=images,
        encoder=encoder,
        recipe=recipe,
        seeds=seeds,
        epochs=epochs,
        overrides=set_ or [],
        glove=glove,
    )
    from transformers.utils import logging as transformers_logging

    from dpe_mner.reproduce.estimate import estimates, probe_run
    from dpe_mner.reproduce.plan import make_plan
    from dpe_mner.reproduce.runner import run_plan, training_with

    if not wants_progress(quiet):
        transformers_logging.disable_progress_bar()
    plan = make_plan(experiment, tables, wanted)
    if not quiet or dry_run:
        _show_plan(plan, estimates(plan, probe_run))
    if dry_run:
        return
    try:
        failures = run_plan(
            plan,
            train=training_with(glove),
            log=lambda line: note(line, quiet=quiet),
            progress=wants_progress(quiet),
        )
    except KeyboardInterrupt as stopped:
        raise Stopped("stopped; the same command goes on from here", getattr(stopped, "status", 130)) from None
    unread = _write_tables(plan, failures, quiet=quiet)
    _finish(plan, failures, unread)


def _write_tables(plan: Plan, failures: list[Failure], *, quiet: bool) -> dict[str, str]:
    """Show and write all tables. Returns which runs could not be scored, and why."""
    from dpe_mner.reproduce.notes import notes_of
    from dpe_mner.reproduce.render import as_dict, make_grid, write_table
    from dpe_mner.reproduce.results import TableResult, collect, labels_of, score_runs

    command = shlex.join(["dpe-mner", *sys.argv[1:]])
    runs, unread = score_runs(plan)
    found = collect(plan, runs, unread | {failure.run: failure.message for failure in failures})
    results = [
        TableResult(
            table=table,
            dataset=plan.experiment.dataset,
            labels=labels_of(plan),
            rows=found[table.number],
            notes=notes_of(plan, table, found[table.number]),
            seeds=plan.experiment.seeds,
        )
        for table in plan.tables
    ]
    grids = [make_grid(result) for result in results]
    folder = plan.experiment.folder / "tables"
    _show_tables(grids, results)
    try:
        for result, grid in zip(results, grids, strict=True):
            write_table(folder, grid, as_dict(result, plan, command=command))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    note(f"tables, with all notes: {folder}", quiet=quiet)
    return unread


def _finish(plan: Plan, failures: list[Failure], unread: dict[str, str]) -> None:
    """Raise what went wrong, now that everything else is done."""
    for failure in failures:
        if failure.ours:
            raise failure.error
    problems = {row.row.id: row.problem for row in plan.rows.values() if row.problem is not None}
    messages = {failure.run: failure.message for failure in failures} | unread | problems
    if messages:
        name, message = next(iter(messages.items()))
        more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
        raise InputError(f"{name}{more}: {message}; everything else is done and kept")


def _show_plan(plan: Plan, seconds: dict[str, float | None]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    experiment = plan.experiment
    title = f"Plan: {experiment.dataset}, {experiment.encoder}, into {experiment.folder}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", no_wrap=True)
    for name in ("finished", "to do", "time"):
        table.add_column(name, no_wrap=True, justify="right" if name == "time" else "left")
    table.add_column("note")
    for row in plan.rows.values():
        table.add_row(row.row.id, *_planned_cells(row, seconds))
    console = Console(stderr=True)
    console.print(title, highlight=False, markup=False, soft_wrap=True)
    console.print(table, markup=False)
    known = [value for value in seconds.values() if value is not None]
    unknown = len(seconds) - len(known)
    total = f"{len(seconds)} runs to train"
    if known:
        total += f", about {_time(sum(known))}"
    if unknown:
        total += f"{' and' if known else ','} {unknown} whose time is not known"
    note(total)


def _planned_cells(row: RowPlan, seconds: dict[str, float | None]) -> tuple[str, str, str, str]:
    """Finished seeds, seeds to do, their time, and what else there is to say."""
    if row.problem is not None:
        return "", "", "", f"cannot be run: {row.problem.partition(';')[0]}"
    if row.needs is not None:
        return "", "", "", row.needs.partition(":")[0]
    if row.same_as is not None:
        return "", "", "", f"same as {row.same_as}: {row.reason}"
    left = [run for run in row.runs if run.to_do]
    times = [seconds[run.name] for run in left]
    known = [time for time in times if time is not None]
    going_on = [str(run.seed) for run in left if run.state == "interrupted"]
    return (
        ", ".join(str(run.seed) for run in row.runs if run.state == "finished"),
        ", ".join(str(run.seed) for run in left),
        _time(sum(known)) if known else "?" if left else "",
        f"seed {', '.join(going_on)} goes on" if going_on else "",
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _show_tables(grids: list[Grid], results: list[TableResult]) -> None:
    """Each table with the notes that are its own, then those all tables share."""
    from rich.console import Console

    from dpe_mner.reproduce.notes import remarks_of

    console = Console()
    shared = [one for one in results[0].notes if all(one in result.notes for result in results)]
    for grid, result in zip(grids, results, strict=True):
        console.print(grid.title, style="bold", highlight=False, markup=False, soft_wrap=True)
        _show_grid(grid, console)
        own = [_short(one) for one in result.notes if one not in shared]
        _show_notes([*own, *remarks_of(result.rows)], console)
    _show_notes([_short(one) for one in shared], console)


def _short(one: Note) -> str:
    return f"{one.text} (listed in the files)." if one.details else one.text


def _show_notes(notes: list[str], console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for one in notes:
        console.print(Padding(Text(one, style="dim"), (0, 0, 0, 2)))
    console.print()


def _show_grid(grid: Grid, console: Console) -> None:
    from rich.table import Table

    columns = [k for k, name in enumerate(grid.header) if name != "note"]  # the notes below tell the same
    gap = 1 if len(columns) > 8 else 2
    shown = [line.cells if not line.heading else (*line.cells, *[""] * len(grid.header)) for line in grid.lines]
    headers = [name.replace(" ", "\n") for name in grid.header]

    def width(columns: list[int]) -> int:
        return sum(gap + max(map(len, [*headers[k].split("\n"), *(cells[k] for cells in shown)])) for k in columns)

    if grid.spare and width(columns) > console.width:
        columns = [k for k in columns if grid.header[k] not in grid.spare]
        console.print(f"  (F1 of {', '.join(grid.spare)}: in the files, this is too narrow)", style="dim", markup=False)
    table = Table(box=None, header_style="underline", padding=(0, gap, 0, 0), pad_edge=False)
    for k in columns:
        table.add_column(headers[k], justify="right" if k else "left", no_wrap=True)
    for line in grid.lines:
        cells = line.cells if line.heading else [line.cells[k] for k in columns]
        table.add_row(*cells, style="italic" if line.heading else None)
    console.print(table, markup=False)
