"""What ``evaluate`` does with errors and comparisons: refuses early, prints short, writes the page and the data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from dpe_mner.commands.places import Read, check_place, check_standard_output, write_text
from dpe_mner.data.files import bare_ending
from dpe_mner.errors import InputError
from dpe_mner.pages.figures import require_matplotlib
from dpe_mner.pages.scores import ENDINGS

if TYPE_CHECKING:
    from dpe_mner.evaluation.analysis import ErrorAnalysis

BUNDLED = "bundled"  # the bundled model's name in results and for --against


def check_outputs(json_: Path | None, errors: Sequence[Path], plot: Path | None, *, read: Sequence[Read]) -> None:
    """Refuse places that cannot be written before any work is done.

    Raises:
        InputError: Naming the option.
    """
    check_standard_output(read)
    taken = list(read)
    if json_ is not None:
        check_place("--json", json_, others=taken)
        taken.append(json_)
    for path in errors:
        check_place("--errors", path, endings=(".html", ".json"), others=taken)
        taken.append(path)
    if plot is not None:
        check_place("--plot", plot, endings=ENDINGS, others=taken)
        require_matplotlib()


def check_train_data(train_data: Path | None, errors: Sequence[Path]) -> None:
    """Refuse a training file that nothing would be done with.

    Raises:
        InputError: Saying what to give.
    """
    if train_data is not None and not errors:
        raise InputError("--train-data goes with --errors; add e.g. --errors errors.html")


def show_analysis(
    analysis: ErrorAnalysis, errors: Sequence[Path], *, fetch_urls: bool = False, lines: Sequence[str] = ()
) -> dict[str, Any]:
    """Print the comparison and the errors by kind, and write them where asked.

    Args:
        analysis: Of the posts.
        errors: Pages and JSON files to write.
        fetch_urls: Download pictures given as URLs for the page.
        lines: More to say of the comparison.

    Returns:
        What to add to ``--json``.
    """
    from dpe_mner.evaluation.analysis import counts_as_dict
    from dpe_mner.pages.errors import error_page

    added: dict[str, Any] = {}
    if errors:
        added |= counts_as_dict(analysis.counts)
        typer.echo("errors: " + ", ".join(f"{kind} {n}" for kind, n in added["errors"].items() if kind != "correct"))
    if analysis.comparison is not None:
        added["against"] = analysis.comparison.as_dict()
        _print_comparison(analysis)
        for line in lines:
            typer.echo(line)
    for path in errors:
        if bare_ending(path) == ".json":
            write_text(path, json.dumps(analysis.as_dict(), indent=1, ensure_ascii=False) + "\n")
        else:
            write_text(path, error_page(analysis, fetch_urls=fetch_urls))
        typer.echo(f"every error is in {path}")
    return added


def _print_comparison(analysis: ErrorAnalysis) -> None:
    held = analysis.comparison
    assert held is not None
    table = Table(title=f"compared with: {held.other}", title_justify="left")
    table.add_column("answers")
    for name in ("precision", "recall", "F1", "posts without an error"):
        table.add_column(name, justify="right")
    for name, report, right in (
        (analysis.model, analysis.report, held.right[0]),
        (held.other, held.report, held.right[1]),
    ):
        s = report.overall
        table.add_row(name, f"{s.precision:.2f}", f"{s.recall:.2f}", f"{s.f1:.2f}", str(right))
    console = Console()
    console.print(table)
    counts = ", ".join(f"{verdict} {count}" for verdict, count in held.counts.items())
    typer.echo(f"{len(held.changes)} of {analysis.report.posts} answers differ: {counts}")
    apart = analysis.report.overall.f1 - held.report.overall.f1
    typer.echo(
        f"F1 {apart:+.2f} against {held.other}, p = {held.p_value:.4f} "
        f"(paired approximate randomization, {held.samples} draws)"
    )
