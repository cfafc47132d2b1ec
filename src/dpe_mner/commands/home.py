"""``~`` at the beginning of a path is the home folder, also where no shell has replaced it: ``--output=~/x.jsonl``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

_PLACES = {
    "predict": {"input_", "image", "model", "output"},
    "evaluate": {"model", "against"},
    "extract": {"model", "grid", "caption", "tags", "regions", "grounding"},
    "bench": {"model"},
    "export": {"model"},
    "demo": {"model"},
    "reproduce": {"encoder"},
}
"""Parameters that are plain text for the parser and may be a path; those typed as a path are told by their type."""


class ExpandingCommand(TyperCommand):
    """A command whose paths begin at home where they say so."""

    def invoke(self, ctx: Any) -> Any:
        """Run with every path expanded."""
        places = _PLACES.get(self.name or "", set())
        for name, value in ctx.params.items():
            ctx.params[name] = _expanded(value, named=name in places)
        return super().invoke(ctx)


def _expanded(value: Any, *, named: bool) -> Any:
    if isinstance(value, Path):
        return value.expanduser() if str(value).startswith("~") else value
    if isinstance(value, str) and named:
        return os.path.expanduser(value)
    if isinstance(value, list):
        return [_expanded(entry, named=named) for entry in value]
    return value


def expanding(app: typer.Typer) -> None:
    """Let every command of an application do so."""
    for command in app.registered_commands:
        command.cls = ExpandingCommand
