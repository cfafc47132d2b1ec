"""``dpe-mner train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpe_mner.commands.console import Stopped, note, wants_progress
from dpe_mner.commands.options import IgnoreLabel, LabelMap, Quiet, TagColumn
from dpe_mner.commands.places import check_folder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)
    app.command("calibrate")(calibrate)


def train(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe; see recipes/.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: training.epochs=3. May be repeated.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Folder of the run; the recipe's if absent.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch.")] = False,
    tag_column: TagColumn = None,
    word_column: Annotated[
        int | None, typer.Option("--word-column", help="Column of the words in CoNLL, from 1.")
    ] = None,
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    quiet: Quiet = False,
) -> None:
    """Train a model from a recipe and write checkpoint, metrics, curves and model card.

    Example: dpe-mner train recipes/twitter2017-minilm.yaml --set data.folder=data/twitter2017 --output runs/mine
    """
    import dpe_mner
    from dpe_mner.data.labels import parse_label_map

    columns = {"tag_column": tag_column, "word_column": word_column}
    given = [f"data.{name}={value}" for name, value in columns.items() if value is not None]
    if output is not None:
        check_folder("--output", output, others=[recipe])
    try:
        dpe_mner.train(
            recipe,
            overrides=[*(set_ or []), *given],
            output=output,
            label_map=parse_label_map(label_map),
            ignore_labels=ignore_label or (),
            resume=resume,
            log=lambda line: note(line, quiet=quiet),
            progress=wants_progress(quiet),
        )
    except KeyboardInterrupt as stopped:
        kept = "finished epochs are kept; the same command with --resume goes on after them"
        raise Stopped(f"stopped; {kept}", getattr(stopped, "status", 130)) from None


def calibrate(
    run: Annotated[Path, typer.Argument(help="Output folder of a finished training run.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="settings.reasoning.steps=2 and the like. May be repeated.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Change how a trained model reasons and choose its threshold anew on its validation posts.

    Example: dpe-mner calibrate runs/mine --set settings.reasoning.steps=2 --set settings.reasoning.spans=16
    """
    from dpe_mner.training.train import calibrate as run_calibrate

    run_calibrate(run, set_ or [], log=lambda line: note(line, quiet=quiet))
