"""Errors, notes and tables on the terminal."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from dpe_mner.data.labels import LabelRules
    from dpe_mner.evaluation.score import Report


class Stopped(Exception):
    """The user ended the work: a line that says what is kept, and the exit status."""

    def __init__(self, message: str, status: int = 130) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def cannot_write(name: object) -> Iterator[None]:
    """Whatever keeps a file from being written is one line; a reader that went away stays what it is.

    Raises:
        InputError: Naming the file and the reason.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{os.fspath(name) if isinstance(name, os.PathLike) else name}: cannot be written ({reason})"
        ) from None


def is_full(error: BaseException) -> bool:
    """Whether an error, also one of a library's own kind, means that a disk has no room left."""
    number = getattr(error, "errno", None)
    return number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} or os.strerror(errno.ENOSPC) in str(error)


def fail(message: str) -> NoReturn:
    """One line on stderr, exit status 2."""
    note(f"dpe-mner: error: {message}")
    raise SystemExit(2)


def note(message: str, *, quiet: bool = False) -> None:
    """One line on stderr."""
    if not quiet:
        typer.echo(" ".join(message.split("\n")), err=True)


def tell_unused(labels: LabelRules, *, quiet: bool = False) -> None:
    """A line for every rule about labels that did nothing."""
    for line in labels.unused():
        note(f"warning: {line}", quiet=quiet)


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
