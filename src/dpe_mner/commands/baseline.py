"""``dpe-mner baseline``: the systems of the paper's Table 1 beside our own, a command each."""

from __future__ import annotations

import typer

from dpe_mner.commands import baseline_llm
from dpe_mner.commands.home import expanding

_COMMANDS = (baseline_llm,)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(name="baseline", no_args_is_help=True)
    group.callback()(baseline)  # a group stays one, also with a single command
    for command in _COMMANDS:
        command.register(group)
    expanding(group)
    app.add_typer(group)


def baseline() -> None:
    """The systems of the paper's Table 1 beside our own.

    Example: dpe-mner baseline llm valid.txt --model NAME --base-url http://localhost:8000/v1
    """
