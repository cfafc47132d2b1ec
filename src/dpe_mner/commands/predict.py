"""``dpe-mner predict``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from dpe_mner.commands.console import note
from dpe_mner.commands.findings import note_joined, note_problems
from dpe_mner.commands.options import (
    BatchSize,
    Convention,
    Device,
    Dtype,
    Features,
    FetchUrls,
    Images,
    Int8,
    Model,
    PictureModels,
    Quiet,
    Seed,
    Spans,
    Steps,
    TagColumn,
    VisualText,
    WordColumn,
    picture_models,
)
from dpe_mner.commands.places import check_place, write_text
from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import complete, read_posts, read_visual_join
from dpe_mner.data.joining import VisualJoin
from dpe_mner.data.jsonl import json_line
from dpe_mner.data.recognise import refuse_binary
from dpe_mner.data.source import Problem
from dpe_mner.errors import InputError
from dpe_mner.types import Post, Prediction

if TYPE_CHECKING:
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.pages.stream import PagedPredictor


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    input_: Annotated[
        str | None, typer.Argument(metavar="[INPUT]", help="JSONL or CoNLL file, or - for JSONL.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text of a single post.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Picture of the single post.")] = None,
    caption: Annotated[str | None, typer.Option("--caption", help="Caption of its picture.")] = None,
    tags: Annotated[str | None, typer.Option("--tags", help="Objects in its picture: a,b,c.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="JSONL to write; stdout if absent.")] = None,
    model: Model = None,
    visual_text: VisualText = None,
    images: Images = None,
    picture_model: PictureModels = None,
    features: Features = None,
    fetch_urls: FetchUrls = False,
    tag_column: TagColumn = None,
    word_column: WordColumn = 1,
    seed: Seed = 0,
    steps: Steps = None,
    spans: Spans = None,
    convention: Convention = None,
    batch_size: BatchSize = 32,
    explain: Annotated[bool, typer.Option("--explain", help="Add reasoning steps, weights and relevance.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Page of the reasoning steps; implies --explain.")] = None,
    device: Device = None,
    int8: Int8 = False,
    dtype: Dtype = "float32",
    quiet: Quiet = False,
) -> None:
    """Find entities in one post (--text) or in a file of posts (INPUT), in input order.

    Example: dpe-mner predict --text "Kevin Durant enters Oracle Arena" --caption "a basketball player"

    Example: dpe-mner predict posts.jsonl --output entities.jsonl

    Example: dpe-mner predict posts.jsonl --output entities.jsonl --html reasoning.html
    """
    single = [name for name, value in (("image", image), ("caption", caption), ("tags", tags)) if value is not None]
    if (input_ is None) == (text is None):
        raise InputError("give either INPUT or --text; see 'dpe-mner predict --help'")
    if text is None and single:
        raise InputError(f"--{single[0]} goes with --text; a file gives each post its own {single[0]!r} key")
    if html is not None:
        given = [Path(name) for name in (input_, image) if name is not None]
        check_place("--html", html, others=[*given, visual_text, output])
    from dpe_mner.pipeline import PredictionOptions

    explained = explain or html is not None
    options = PredictionOptions(
        steps=steps, spans=spans, seed=seed, batch_size=batch_size, explain=explained, convention=convention
    )
    models = picture_models(picture_model)
    problems: list[Problem] = []
    visual = VisualJoin()
    posts: Iterator[Post] | list[Post]
    if text is not None:
        named = [tag.strip() for tag in tags.split(",") if tag.strip()] if tags is not None else None
        posts = [Post(text=text, image=image, caption=caption, tags=named)]
    else:
        visual = read_visual_join(visual_text, problems)
        columns = Columns(word=word_column, tag=tag_column)
        posts = _read(str(input_), visual, images, problems, columns)
    # The input is opened before the model is loaded and the output after both: a mistyped path costs nothing.
    import dpe_mner
    from dpe_mner.data.inputs import with_progress

    loaded = dpe_mner.load(model, device=device, int8=int8, dtype=dtype)
    if models or features is not None or fetch_urls:
        loaded.use_pictures(models=models, store=features, images=images, fetch_urls=fetch_urls)
    paged = _paged(loaded) if html is not None else None
    found = loaded.predictions(posts, options) if paged is None else paged(posts, options)
    results = with_progress(found, posts, quiet=quiet)
    with _open(output) as stream:
        if text is not None and output is None and sys.stdout.isatty() and not explain:
            _show(next(iter(results)))
        else:
            for result in results:
                stream.write(json_line(result.as_dict(explain=explained)))
    if paged is not None and html is not None:
        write_text(html, paged.html(title="DPE-MNER: how the entities of each post came about", fetch_urls=fetch_urls))
        first = f" of the first {paged.most}" if paged.total > paged.most else ""
        note(f"{paged.total} posts; the reasoning steps{first} are in {html}", quiet=quiet)
    note_joined(visual, quiet=quiet)
    _refuse_lost(problems, quiet=quiet)


def _paged(model: DPEMNERModel) -> PagedPredictor:
    from dpe_mner.pages.stream import PagedPredictor
    from dpe_mner.predictor import Predictor

    assert model.tokenizer is not None
    return PagedPredictor(Predictor(model, model.tokenizer, model.pictures))


def _refuse_lost(problems: Sequence[Problem], *, quiet: bool) -> None:
    """Name what was met, and end in an error, after everything is done, when lines could not be used."""
    lost = note_problems(sorted(problems, key=lambda problem: (problem.path, problem.line)), quiet=quiet)
    if lost:
        raise InputError(f"{len(lost)} lines could not be used; all others are done")


def _read(
    name: str, visual: VisualJoin, images: Path | None, problems: list[Problem], columns: Columns
) -> Iterator[Post]:
    if name != "-" and not Path(name).is_file():
        refuse_binary(name)
        raise InputError(f"{name}: no such file; give JSONL, CoNLL, or - for standard input")
    folder = images if images is not None else Path(name).parent
    found = read_posts(name, problems, columns=columns)

    def stream() -> Iterator[Post]:
        empty = True
        for post in found:
            empty = False
            yield complete(post, visual=visual, folder=folder, label_map={}, by_id=images is not None)
        if empty and not problems:
            raise InputError(f'{name}: holds no post; expected JSON with "text" or "words", or CoNLL')

    return stream()


@contextmanager
def _open(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        stream = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    with stream:
        yield stream


def _show(prediction: Prediction) -> None:
    from rich.console import Console

    from dpe_mner.commands.highlight import entity_table, highlighted

    console = Console()
    console.print(highlighted(prediction.text, prediction.entities))
    if prediction.entities:
        console.print(entity_table(prediction.entities))
    for warning in prediction.warnings:
        note(f"warning: {warning}")
