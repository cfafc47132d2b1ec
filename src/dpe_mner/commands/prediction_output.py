"""Predictions to their output as they are finished, whatever ends the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dpe_mner.commands.console import Stopped, cannot_write, is_full, note
from dpe_mner.commands.finished import FinishedLines, LineOutput, OpenLines, as_line
from dpe_mner.data.stretches import is_live
from dpe_mner.data.writing import is_special
from dpe_mner.errors import InputError
from dpe_mner.types import Post, Prediction


def check_resume(resume: bool, input_: str | None, output: Path | None, html: Path | None) -> None:
    """Refuse ``--resume`` where there is nothing to go on with.

    Raises:
        InputError: Saying what to give.
    """
    if not resume:
        return
    if output is None or is_special(output):
        raise InputError("--resume goes on with a file; add --output FILE")
    if input_ is None or input_ == "-" or is_live(input_):
        raise InputError("--resume reads the posts again from the first; give them as a file")
    if html is not None:
        raise InputError(
            "--html needs the reasoning steps of the first posts, which --resume leaves out; give one of both"
        )


def line_output(output: Path | None, depends_on: Callable[[], dict[str, str]], *, resume: bool) -> LineOutput:
    """Where lines go: standard output, something special as it is, or a file that appears when all are there.

    Args:
        output: ``--output``; standard output when not given.
        depends_on: Tells what the lines depend on; asked only where it is written down.
        resume: Go on after earlier lines.

    Raises:
        InputError: If it cannot be written.
    """
    if output is None:
        return OpenLines(sys.stdout.buffer, "standard output")
    if is_special(output):
        with cannot_write(output):
            return OpenLines(output.open("wb"), str(output))
    return FinishedLines(output, depends_on(), resume=resume)


def write_all(
    stretches: Iterable[Iterable[Prediction]],
    lines: LineOutput,
    *,
    explain: bool,
    total: Iterable[Post],
    quiet: bool,
) -> None:
    """Write what is found, a stretch at a time; whatever ends it early, finished lines are kept and named.

    Args:
        stretches: What is found, a stretch of posts at a time.
        lines: Where it goes.
        explain: Write explanations too.
        total: The posts, for the progress bar.
        quiet: No progress bar.

    Raises:
        Stopped: On Ctrl-C and the like.
        InputError: If the output cannot be written, or the input cannot be read further.
    """
    from dpe_mner.data.inputs import with_progress

    pending: list[bytes] = []

    def found() -> Iterator[Prediction]:
        for stretch in stretches:
            yield from stretch
            lines.write(pending)
            pending.clear()

    try:
        for prediction in with_progress(found(), total, quiet=quiet):
            pending.append(as_line(prediction.as_dict(explain=explain)))
        if lines.done:
            lines.finish()
        else:  # no post at all: what lies at the output stays
            lines.stop()
    except BrokenPipeError:
        raise
    except BaseException as error:
        done, place = lines.done, lines.stop()
        kept = f"{done} finished posts are in {place}; add --resume to go on after them" if place else ""
        if isinstance(error, KeyboardInterrupt):
            message = f"stopped; {kept}" if kept else "stopped"
            raise Stopped(message, getattr(error, "status", 130)) from None
        if kept and (isinstance(error, InputError) or is_full(error)):
            raise InputError(f"{error}; {kept}") from None
        if kept:
            note(kept)
        raise
