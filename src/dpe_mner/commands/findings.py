"""What readers met, on the terminal: grouped, so that a thousand like lines do not hide the one that differs."""

from __future__ import annotations

from collections.abc import Sequence

from dpe_mner.commands.console import note
from dpe_mner.data.check import count_by_kind
from dpe_mner.data.dataset import Dataset
from dpe_mner.data.gold import gold_summary
from dpe_mner.data.joining import VisualJoin
from dpe_mner.data.source import Problem

_SHOWN = 3


def note_problems(problems: Sequence[Problem], *, quiet: bool = False) -> list[Problem]:
    """Name what was met: every line that is lost, the first few of what could be read all the same.

    Args:
        problems: Of all files.
        quiet: Name what is lost alone.

    Returns:
        The lost ones.
    """
    lost = [problem for problem in problems if problem.loses_data]
    for problem in lost:
        note(str(problem))
    for kind, found in count_by_kind(p for p in problems if not p.loses_data).items():
        for problem in found[:_SHOWN]:
            note(f"warning: {problem}", quiet=quiet)
        if len(found) > _SHOWN:
            note(f"warning: ... and {len(found) - _SHOWN} more such lines ({kind})", quiet=quiet)
    return lost


def note_joined(visual: VisualJoin, *, quiet: bool = False) -> None:
    """Say how many captions met a post; that none did is said in any case."""
    if visual.summary:
        note(visual.summary, quiet=quiet and bool(visual.used))


def note_dataset(data: Dataset, *, labelled: bool = False, quiet: bool = False) -> None:
    """Say what a whole data set brought: captions that joined, and gold that is not read as it stands.

    Args:
        data: The data set.
        labelled: Its labels are used.
        quiet: Nothing but what makes the result worthless.
    """
    note_joined(data.visual, quiet=quiet)
    if not labelled:
        return
    summary = gold_summary(data.posts)
    if summary:
        note(f"{data.path}: {summary}", quiet=quiet)
    if not data.labels:
        note(f"warning: {data.path}: not one entity is labelled, so that every score is 0")
