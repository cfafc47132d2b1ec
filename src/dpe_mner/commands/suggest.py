"""``dpe-mner suggest``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dpe_mner.commands.console import note
from dpe_mner.commands.findings import note_problems
from dpe_mner.commands.options import (
    BatchSize,
    Convention,
    Device,
    Images,
    Model,
    Quiet,
    Seed,
    TagColumn,
    VisualText,
    WordColumn,
)
from dpe_mner.commands.places import check_place
from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import complete, read_posts, read_visual_join
from dpe_mner.data.source import Problem
from dpe_mner.errors import InputError
from dpe_mner.suggest.uncertainty import Uncertain

_FORMATS = ("label-studio", "doccano", "prodigy", "jsonl")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("suggest")(suggest)


def suggest(
    input_: Annotated[str, typer.Argument(metavar="POSTS", help="JSONL or CoNLL file, or - for standard input.")],
    count: Annotated[int, typer.Option("--count", help="K: how many posts to suggest.", min=1)],
    output: Annotated[Path, typer.Option("--output", help="Task file to write.")],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="label-studio, doccano, prodigy or jsonl.")
    ] = "label-studio",
    model: Model = None,
    visual_text: VisualText = None,
    images: Images = None,
    tag_column: TagColumn = None,
    word_column: WordColumn = 1,
    answers: Annotated[int, typer.Option("--answers", help="How often each post is answered.", min=2, max=64)] = 4,
    seed: Seed = 0,
    convention: Convention = None,
    batch_size: BatchSize = 32,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """The K posts most worth labelling, with the model's own answers to correct, as a task file of a labelling tool.

    Example: dpe-mner suggest posts.jsonl --count 200 --output tasks.json

    Example: dpe-mner convert done.json --from label-studio --to jsonl --output labelled.jsonl
    """
    if format_ not in _FORMATS:
        raise InputError(f"--format {format_!r}: a task file is one of {', '.join(_FORMATS)}")
    check_place("--output", output, others=[input_, model, visual_text, images])
    import dpe_mner
    from dpe_mner.data.inputs import with_progress
    from dpe_mner.formats.base import FormatOptions
    from dpe_mner.formats.predicted import predicted_post
    from dpe_mner.formats.registry import find_format
    from dpe_mner.pipeline import CHUNK, PredictionOptions, chunks
    from dpe_mner.suggest.choice import most_worth
    from dpe_mner.suggest.uncertainty import uncertain

    problems: list[Problem] = []
    visual = read_visual_join(visual_text, problems)
    folder = images if images is not None else Path(input_).parent
    found = read_posts(input_, problems, columns=Columns(word=word_column, tag=tag_column))
    posts = (
        replace(complete(post, visual=visual, folder=folder, by_id=images is not None), entities=None)
        for post in found
        if not post.entities  # somebody labelled it already
    )
    loaded = dpe_mner.load(model, device=device, backend="torch")
    options = PredictionOptions(seed=seed, batch_size=batch_size, convention=convention)
    seen = Counter[str]()

    def stream() -> Iterator[Uncertain]:
        for stretch in chunks(posts, CHUNK):
            seen["posts"] += len(stretch)
            yield from uncertain(loaded, stretch, options, answers=answers)

    chosen = most_worth(with_progress(stream(), found, quiet=quiet), count)
    if not seen["posts"]:
        raise InputError(f"{input_}: holds no post without labels")
    if not chosen:
        raise InputError(f"{input_}: the model is sure of all {seen['posts']} posts; none is worth labelling for it")
    tasks = [predicted_post(one.prediction, one.post) for one in chosen]
    find_format("--format", format_).write(tasks, output, FormatOptions(), Counter())
    total = sum(one.expected_errors for one in chosen)
    note(
        f"{len(chosen)} of {seen['posts']} posts, with about {total:.0f} answers expected to be wrong, are in {output}",
        quiet=quiet,
    )
    lost = note_problems(problems, quiet=quiet)
    if lost:
        raise InputError(f"{len(lost)} lines could not be used; all others are done")
