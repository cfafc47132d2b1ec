"""Errors, notes and tables on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from dpe_mner.evaluation.score import Report


def fail(message: str) -> NoReturn:
    """One line on stderr, exit status 2."""
    note(f"dpe-mner: error: {message}")
    raise SystemExit(2)


def note(message: str, *, quiet: bool = False) -> None:
    """One line on stderr."""
    if not quiet:
        typer.echo(" ".join(message.split("\n")), err=True)


def wants_progress(quiet: bool) -> bool:
    """Progress bars appear on a terminal only."""
    return not quiet and sys.stderr.isatty()


def print_report(report: Report, *, title: str) -> None:
    """Precision, recall and F1 as a table on stdout."""
    table = Table(title=title, title_justify="left")
    table.add_column("type")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    rows = {**report.per_type, "all": report.overall}
    for label, s in rows.items():
        style = "bold" if label == "all" else None
        table.add_row(label, f"{s.precision:.2f}", f"{s.recall:.2f}", f"{s.f1:.2f}", str(s.support), style=style)
    Console().print(table)
