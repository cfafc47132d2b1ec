"""The ``dpe-mner`` command: its sub-commands, exit statuses and one-line errors."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from dpe_mner.commands import (
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
    train,
)
from dpe_mner.commands.console import fail
from dpe_mner.errors import InputError
from dpe_mner.version import __version__

_EXTRAS = frozenset({"jinja2", "safetensors", "scipy", "torch", "transformers", "yaml"})  # of dpe-mner[torch]
app = typer.Typer(
    name="dpe-mner",
    help="Named entities in posts that come with a picture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (predict, evaluate, train, extract, reproduce, bench, export, check_data, convert, info, demo):
    command.register(app)


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


def main() -> None:
    """Run the command line; exit 0 done, 2 wrong usage or bad input, 1 a fault of ours."""
    for stream in (sys.stdout, sys.stderr):
        # A name in a file may hold half a surrogate pair, which UTF-8 cannot; it is shown as \ud83d.
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") == "utf8":
            stream.reconfigure(errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except InputError as error:
        fail(str(error))
    except ImportError as error:
        if (error.name or "").split(".")[0] not in _EXTRAS:
            raise
        fail(f"this needs {error.name}; run pip install 'dpe-mner[torch]'")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader went away, e.g. "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
