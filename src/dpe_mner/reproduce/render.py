"""A table as rows of cells, which the terminal and Markdown show alike; as CSV; as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_mner.data.writing import write_whole
from dpe_mner.evaluation.exchanged import PARTS
from dpe_mner.reproduce.paper import TYPES, source
from dpe_mner.reproduce.plan import Plan
from dpe_mner.reproduce.provenance import provenance
from dpe_mner.reproduce.results import RowResult, Run, TableResult

CONTROL_COLUMNS = ("exchanged", "mean state")
_OPTIONAL = (*CONTROL_COLUMNS, "note")  # not shown where they would be empty


@dataclass(frozen=True)
class Line:
    """Cells of a line; a heading has one."""

    cells: tuple[str, ...]
    heading: bool = False


@dataclass(frozen=True)
class Grid:
    """What a table shows: the first column is text, the last too if it is ``note``, the others are numbers.

    ``spare`` are columns that a terminal may leave out when it is too narrow.
    """

    title: str
    header: tuple[str, ...]
    lines: list[Line]
    spare: tuple[str, ...] = ()


def make_grid(result: TableResult) -> Grid:
    """Lay a table out.

    Args:
        result: The table.
    """
    layout = _detailed if result.table.detailed else _overall
    header, cells = layout(result)
    lines: list[Line] = []
    group = ""
    for row in result.rows:
        if row.row.group != group:
            group = row.row.group
            lines.append(Line((group,), heading=True))
        lines += [Line(line) for line in cells(row)]
    title = f"{source(result.table.number)}: {result.table.title}, {result.dataset}"
    shown = [line.cells for line in lines if not line.heading]
    kept = [k for k, name in enumerate(header) if name not in _OPTIONAL or any(cells[k].strip(" -") for cells in shown)]
    lines = [line if line.heading else Line(tuple(line.cells[k] for k in kept)) for line in lines]
    header = tuple(header[k] for k in kept)
    spare = result.labels if result.table.detailed else ()
    return Grid(title + (" (partial)" if result.partial else ""), header, lines, spare)


Layout = tuple[tuple[str, ...], Callable[[RowResult], list[tuple[str, ...]]]]


def _overall(result: TableResult) -> Layout:
    def cells(row: RowResult) -> list[tuple[str, ...]]:
        paper = (_number(row.paper.f1 if row.paper else None), _signed(row.paper_delta))
        return [(row.row.label, *_ours(row), *paper, row.remark)]

    return ("setting", "F1", "sd", "diff", "p", *CONTROL_COLUMNS, "paper F1", "paper diff", "note"), cells


def _detailed(result: TableResult) -> Layout:
    def cells(row: RowResult) -> list[tuple[str, ...]]:
        figures, paper = row.figures, row.paper
        if row.status == "elsewhere" and paper is not None:
            return [(f"{row.row.label}, paper", *_printed(row, result.labels))]
        types = [figures.per_type.get(label) if figures else None for label in result.labels]
        both = (figures.precision, figures.recall) if figures else (None, None)
        here = (row.row.label, *map(_number, (*types, *both)), *_ours(row), row.remark)
        if paper is None:
            return [here]
        return [here, ("  paper", *_printed(row, result.labels))]

    return ("system", *result.labels, "P", "R", "F1", "sd", "diff", "p", *CONTROL_COLUMNS, "note"), cells


def _printed(row: RowResult, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Everything after the name, as the paper has it: it knows no p and no controls."""
    paper = row.paper
    assert paper is not None
    types = [paper.per_type.get(label) for label in labels]
    return (*map(_number, (*types, paper.precision, paper.recall, paper.f1)), "", _signed(row.paper_delta), *[""] * 4)


def _ours(row: RowResult) -> tuple[str, ...]:
    figures = row.figures
    if figures is None:
        return (f"= {row.same_as}" if row.same_as else "-", *[""] * 5)
    controls = (_number(figures.exchanged.get("all")), _number(figures.mean_state))
    return (_number(figures.f1), _number(figures.spread, ""), _signed(figures.delta), _p(figures.p), *controls)


def _number(value: float | None, absent: str = "-") -> str:
    return absent if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{round(value, 2) + 0.0:+.2f}"  # never -0.00


def _p(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def as_dict(result: TableResult, plan: Plan, *, command: str) -> dict[str, Any]:
    """For JSON: every figure with four decimals, and where it all comes from.

    Args:
        result: The table.
        plan: What was done.
        command: That was typed.
    """
    return {
        "table": result.table.number,
        "title": result.table.title,
        "dataset": result.dataset,
        "encoder": plan.experiment.encoder,
        "partial": result.partial,
        "seeds": list(result.seeds),
        "rows": [_row(row, result.labels) for row in result.rows],
        "paper": source(result.table.number),
        "notes": [str(text) for text in result.notes],
        **provenance(result, plan, command=command),
    }


def _row(row: RowResult, labels: tuple[str, ...]) -> dict[str, Any]:
    figures, paper = row.figures, row.paper
    values: dict[str, Any] = {
        "row": row.row.id,
        "label": row.row.label,
        "overrides": list(row.row.overrides),
        "status": row.status,
        "remark": row.remark,
        "same_as": row.same_as,
        "f1": None,
        "paper": None,
    }
    if figures is not None:
        values |= {
            "precision": _round(figures.precision),
            "recall": _round(figures.recall),
            "f1": _round(figures.f1),
            "f1_sd": _round(figures.spread),
            "diff": _round(figures.delta),
            "p": _round(figures.p),
            "per_type_f1": {label: _round(figures.per_type[label]) for label in labels},
            "exchanged": _round(figures.exchanged.get("all")),
            "exchanged_parts": {part: _round(f1) for part, f1 in figures.exchanged.items() if part != "all"},
            "mean_state": _round(figures.mean_state),
            "controls_by_seed": {str(run.seed): _controls(run) for run in row.runs if run.controls is not None},
            "f1_by_seed": {str(seed): _round(f1) for seed, f1 in figures.f1_by_seed.items()},
            "seconds": round(sum(run.seconds for run in row.runs), 1),
        }
    if paper is not None:
        values["paper"] = {
            "f1": paper.f1,
            "precision": paper.precision,
            "recall": paper.recall,
            "per_type_f1": dict(paper.per_type),
            "diff": row.paper_delta,
        }
    return values


def _controls(run: Run) -> dict[str, Any]:
    assert run.controls is not None
    exchanged = {part: _round(f1) for part, f1 in run.controls.exchanged.items()}
    return {"exchanged": exchanged, "mean_state": _round(run.controls.mean_state)}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def as_csv(values: dict[str, Any]) -> str:
    """The rows of :func:`as_dict` as CSV, one flat line each; an absent figure is an empty cell.

    Args:
        values: Of this version or an earlier one, which had no controls.
    """
    labels = list(dict.fromkeys([*(t for row in values["rows"] for t in row.get("per_type_f1", ())), *TYPES]))
    ours = ["precision", "recall", "f1", "f1_sd", "diff", "p"]
    theirs = ["precision", "recall", "f1", "diff"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["table", "dataset", "encoder", "row", "label", "status", "remark", "seeds", *ours]
        + [f"f1_{label}" for label in labels]
        + [f"paper_{name}" for name in theirs]
        + [f"paper_f1_{label}" for label in labels]
        + ["exchanged", *(f"exchanged_{part}" for part in PARTS), "mean_state"]
    )
    for row in values["rows"]:
        paper, types = row["paper"] or {}, row.get("per_type_f1", {})
        seeds = " ".join(row.get("f1_by_seed", {}))
        writer.writerow(
            [values["table"], values["dataset"], values["encoder"], row["row"], row["label"], row["status"]]
            + [row["remark"], seeds, *(row.get(name) for name in ours)]
            + [types.get(label) for label in labels]
            + [paper.get(name) for name in theirs]
            + [paper.get("per_type_f1", {}).get(label) for label in labels]
            + [row.get("exchanged"), *(row.get("exchanged_parts", {}).get(part) for part in PARTS)]
            + [row.get("mean_state")]
        )
    return stream.getvalue()


def as_markdown(grid: Grid, values: dict[str, Any]) -> str:
    """A table with its notes and provenance."""
    width = len(grid.header)
    text = {0, width - 1} if grid.header[-1] == "note" else {0}
    lines = [
        f"# {grid.title}",
        "",
        _markdown_row(grid.header),
        _markdown_row(tuple("---" if column in text else "---:" for column in range(width))),
    ]
    for line in grid.lines:
        cells = (f"*{line.cells[0]}*", *[""] * (width - 1)) if line.heading else line.cells
        lines.append(_markdown_row(cells))
    lines += ["", *(f"* {note}" for note in values["notes"]), "", f"    {values['command']}", "", _made_by(values), ""]
    return "\n".join(lines)


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"


def _made_by(values: dict[str, Any]) -> str:
    commit = f" at {values['commit']}" if values["commit"] else ""
    trained = "; ".join(f"{runs} on {machine}" for machine, runs in values["trained_on"].items())
    return (
        f"dpe-mner {values['package_version']}{commit}, Python {values['python_version']}; runs trained: "
        f"{trained or 'none'}; {values['seconds'] / 60:.0f} minutes of training; "
        f"validation labels SHA-256 `{values['valid_sha256']}`."
    )


def write_table(folder: Path, grid: Grid, values: dict[str, Any]) -> list[Path]:
    """Write ``table<K>.md``, ``.csv`` and ``.json``; each appears whole or not at all.

    Args:
        folder: Made if needed.
        grid: From :func:`make_grid`.
        values: From :func:`as_dict`.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "md": as_markdown(grid, values),
        "csv": as_csv(values),
        "json": json.dumps(values, indent=2, ensure_ascii=False) + "\n",
    }
    written = []
    for ending, content in contents.items():
        path = folder / f"table{values['table']}.{ending}"
        write_whole(path, content)
        written.append(path)
    return written
