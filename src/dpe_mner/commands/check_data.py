"""``dpe-mner check-data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpe_mner.commands.console import tell_unused
from dpe_mner.commands.options import FetchUrls, IgnoreLabel, Images, LabelMap, Quiet, TagColumn, VisualText, WordColumn
from dpe_mner.commands.places import check_standard_output
from dpe_mner.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check-data")(check_data)


def check_data(
    data: Annotated[Path, typer.Argument(help="CoNLL or JSONL file.")],
    visual_text: VisualText = None,
    images: Images = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another split; posts in both are reported.")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="The posts are to predict on; that they have no labels is no finding.")
    ] = False,
    fetch_urls: FetchUrls = False,
    tag_column: TagColumn = None,
    word_column: WordColumn = 1,
    show: Annotated[int, typer.Option("--show", help="Findings of a kind to print; 0 for all.")] = 5,
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with a data set before training; exit status 2 if anything is.

    Example: dpe-mner check-data train.txt --visual-text visual_text.jsonl --against valid.txt

    Example: dpe-mner check-data posts.jsonl --images photos --unlabelled
    """
    check_standard_output([data, visual_text, against])
    from dpe_mner.data.check import check_dataset, count_by_kind
    from dpe_mner.data.columns import Columns
    from dpe_mner.data.labels import LabelRules, parse_label_map

    labels = LabelRules(parse_label_map(label_map), ignore_label or ())
    dataset, problems = check_dataset(
        data,
        visual_text=visual_text,
        images=images,
        against=against,
        columns=Columns(word=word_column, tag=tag_column),
        labels=labels,
        labelled=not unlabelled,
        fetch_urls=fetch_urls,
    )
    tell_unused(labels, quiet=quiet)
    if not quiet:
        labelled = [post for post in dataset.posts if post.entities is not None]
        entities = sum(len(post.entities or ()) for post in labelled)
        typer.echo(
            f"{data}: {len(dataset.posts)} posts, {len(labelled)} labelled, {entities} entities"
            f" ({', '.join(dataset.labels) or 'no labels'}); SHA-256 {dataset.sha256}"
        )
        if dataset.visual.summary:
            typer.echo(dataset.visual.summary)
    for kind, found in count_by_kind(problems).items():
        typer.echo(f"{kind}: {len(found)}")
        shown = found if show == 0 else found[:show]
        for problem in shown:
            typer.echo(f"  {problem}")
        if len(shown) < len(found):
            typer.echo(f"  ... and {len(found) - len(shown)} more; --show 0 prints all")
    if problems:
        raise InputError(f"{data}: {len(problems)} findings; see above")
    if not quiet:
        typer.echo("nothing wrong found")
