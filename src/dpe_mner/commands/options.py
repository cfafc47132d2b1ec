"""Options that several commands share, described once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dpe_mner.errors import InputError

Model = Annotated[str | None, typer.Option("--model", help="Checkpoint folder or hub id; the bundled model if absent.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1 ...; the CPU if absent.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the starting noise.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Reasoning steps; the checkpoint's if absent.")]
Spans = Annotated[int | None, typer.Option("--spans", help="Noisy spans; the checkpoint's if absent.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Posts computed together; never changes an answer.")]
VisualText = Annotated[
    Path | None, typer.Option("--visual-text", help="JSONL with image_id, caption and tags, joined by post id.")
]
Images = Annotated[Path | None, typer.Option("--images", help="Folder that image paths are relative to.")]
PictureModels = Annotated[
    list[str] | None,
    typer.Option(
        "--picture-model",
        metavar="KIND=NAME",
        help="Where a model lies that reads pictures: grid=, caption=, regions=, tags= or objects=. May be repeated.",
    ),
]
Features = Annotated[
    Path | None, typer.Option("--features", help="Store made by 'dpe-mner extract', looked into first.")
]
FetchUrls = Annotated[bool, typer.Option("--fetch-urls", help="Download pictures given as URLs.")]
Dtype = Annotated[
    str, typer.Option("--dtype", help="float32, or bfloat16 or float16: faster on a GPU, scores differ a little.")
]
Int8 = Annotated[bool, typer.Option("--int8", help="Quantise the encoder: faster on a CPU, for a little F1.")]
LabelMap = Annotated[
    list[str] | None, typer.Option("--label-map", metavar="OLD=NEW", help="Rename a label of the data; repeatable.")
]
IgnoreLabel = Annotated[
    list[str] | None,
    typer.Option("--ignore-label", metavar="LABEL", help="Leave out the entities of a label; repeatable."),
]
Convention = Annotated[
    str | None,
    typer.Option("--convention", help="Annotation convention to answer by, see 'dpe-mner info'; the first if absent."),
]
TagColumn = Annotated[
    int | None,
    typer.Option("--tag-column", help="Column of the tags in CoNLL, from 1, or -1 for the last; the last if absent."),
]
WordColumn = Annotated[int, typer.Option("--word-column", help="Column of the words in CoNLL, from 1.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no notes; errors still show.")]


def picture_models(pairs: list[str] | None) -> dict[str, str]:
    """``["grid=folder"]`` to a dictionary.

    Raises:
        InputError: If a pair has no ``=``.
    """
    models = {}
    for pair in pairs or ():
        kind, equals, name = pair.partition("=")
        if not equals or not kind or not name:
            raise InputError(f"--picture-model {pair!r}: expected KIND=NAME, e.g. grid=microsoft/resnet-50")
        models[kind] = os.path.expanduser(name)
    return models
