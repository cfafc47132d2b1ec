"""The ``dpe-mner`` command: its sub-commands, exit statuses and one-line errors."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, NoReturn

import typer

from dpe_mner.commands import (
    baseline,
    bench,
    check_data,
    convert,
    demo,
    evaluate,
    export,
    extract,
    info,
    predict,
    reproduce,
    serve,
    suggest,
    train,
)
from dpe_mner.commands.console import Stopped, fail, is_full, note
from dpe_mner.commands.home import expanding
from dpe_mner.errors import InputError
from dpe_mner.version import __version__

_EXTRAS = frozenset({"jinja2", "safetensors", "scipy", "torch", "transformers", "yaml"})  # of dpe-mner[torch]
_WRONG_USAGE = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
app = typer.Typer(
    name="dpe-mner",
    help="Named entities in posts that come with a picture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    predict,
    evaluate,
    train,
    extract,
    reproduce,
    baseline,
    bench,
    export,
    check_data,
    convert,
    suggest,
    serve,
    info,
    demo,
):
    command.register(app)
expanding(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"dpe-mner {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Named entities in posts that come with a picture."""


class Ended(KeyboardInterrupt):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def main() -> None:
    """Run the command line; exit 0 done, 2 wrong usage or bad input, 1 a fault of ours, 130 stopped by Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        # A name in a file may hold half a surrogate pair, which UTF-8 cannot; it is shown as \ud83d.
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") == "utf8":
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ended_by_signals():
            _run(sys.argv[1:])
            sys.stdout.flush()
    except SystemExit as ended:  # rich ends the process itself when the reader went away
        sys.exit(0 if isinstance(ended.__context__, BrokenPipeError) else ended.code)
    except (Exception, KeyboardInterrupt) as error:
        _end(error)


def _end(error: BaseException) -> NoReturn:
    """One line and the exit status for whatever ended the command early; a fault of ours is raised again."""
    if isinstance(error, typer.Exit):
        sys.exit(error.exit_code)
    if isinstance(error, InputError | typer.Abort):
        fail(str(error) or "aborted")
    if isinstance(error, Stopped | KeyboardInterrupt):
        note(f"dpe-mner: {str(error) or 'stopped'}")
        sys.exit(getattr(error, "status", 130))
    if isinstance(error, BrokenPipeError):  # the reader went away, e.g. "| head"
        _forget_output()
        sys.exit(0)
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] in _EXTRAS:
        fail(f"this needs {error.name}; run pip install 'dpe-mner[torch]'")
    if is_full(error):
        _forget_output()
        place = getattr(error, "filename", None)
        fail(f"{f'{place}: ' if place else ''}no space left to write to; make room and run the same command again")
    raise error


def _run(arguments: list[str]) -> None:
    """Parse and do; wrong usage is a plain line."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("dpe-mner", list(arguments)) as context:
            command.invoke(context)
    except Exception as error:
        if not isinstance(error, _WRONG_USAGE):
            raise
        message: str = error.format_message()  # type: ignore[attr-defined]
        at = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(message) if message.strip() else None  # or the help was shown already
            raise typer.Exit(2) from None
        raise InputError(f"{message.rstrip('.')}; see '{at.command_path if at else 'dpe-mner'} --help'") from None


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a request to end (``kill``, a closed terminal) be told like Ctrl-C, with what is done kept."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    names = ("SIGTERM", "SIGHUP")
    kinds = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        kinds = []
    earlier = {kind: signal.getsignal(kind) for kind in kinds}
    taken = [kind for kind, handler in earlier.items() if handler == signal.SIG_DFL]  # nohup ignores SIGHUP
    for kind in taken:
        signal.signal(kind, end)
    try:
        yield
    finally:
        for kind in taken:
            signal.signal(kind, signal.SIG_DFL)


def _forget_output() -> None:
    """Standard output leads nowhere from here on: what is left in its buffer would fail again at the end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
