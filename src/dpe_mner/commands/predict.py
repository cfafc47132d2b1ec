"""``dpe-mner predict``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpe_mner.commands.console import note
from dpe_mner.commands.findings import note_joined, note_problems
from dpe_mner.commands.finished import JOURNAL, PART
from dpe_mner.commands.identity import absolute, file_digest, what_it_depends_on
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
from dpe_mner.commands.places import Read, check_place, check_standard_output, write_text
from dpe_mner.commands.predict_ray import (
    Actors,
    Address,
    ColumnOf,
    Engine,
    Gpus,
    PartFormat,
    PartRows,
    RayFlags,
    predict_on_ray,
)
from dpe_mner.commands.prediction_output import check_resume, line_output, write_all
from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import complete, read_posts, read_visual_join
from dpe_mner.data.joining import VisualJoin
from dpe_mner.data.recognise import refuse_binary
from dpe_mner.data.source import Problem
from dpe_mner.data.stretches import Pace, is_live, stretches
from dpe_mner.errors import InputError
from dpe_mner.scale.loading import ModelChoice
from dpe_mner.types import Post, Prediction

if TYPE_CHECKING:
    from dpe_mner.pages.stream import PagedPredictor
    from dpe_mner.pipeline import Predicts

_MOST_WORKERS = 1024
_AT_ONCE, _SECONDS = 16, 20.0  # batches of a file predicted together at first, and what a stretch may take, about


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    input_: Annotated[
        str | None, typer.Argument(metavar="[INPUT]", help="JSONL or CoNLL file, or - for standard input.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text of a single post.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Picture of the single post.")] = None,
    caption: Annotated[str | None, typer.Option("--caption", help="Caption of its picture.")] = None,
    tags: Annotated[str | None, typer.Option("--tags", help="Objects in its picture: a,b,c.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="JSONL to write; stdout if absent.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the finished lines of a run of this command that was ended.")
    ] = False,
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
    workers: Annotated[
        int, typer.Option("--workers", help="Processes with a model and a thread each, for a file of many posts.")
    ] = 1,
    engine: Engine = "local",
    ray_address: Address = None,
    actors: Actors = None,
    gpus_per_actor: Gpus = None,
    column: ColumnOf = None,
    part_format: PartFormat = None,
    part_rows: PartRows = None,
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

    Example: dpe-mner predict millions.jsonl.gz --output entities.jsonl.gz --workers 8

    Example: dpe-mner predict posts.parquet --engine ray --actors 8 --output answers
    """
    flags = RayFlags(
        address=ray_address, actors=actors, gpus=gpus_per_actor, columns=column,
        part_format=part_format, part_rows=part_rows,
    )  # fmt: skip
    on_ray = flags.check(engine, {"--text": text, "--html": html, "--workers": workers > 1, "--tag-column": tag_column})
    _check_usage(input_, text, {"image": image, "caption": caption, "tags": tags})
    models = picture_models(picture_model)
    output = None if output is not None and str(output) == "-" else output
    choice = ModelChoice(
        name=model, device=device, int8=int8, dtype=dtype,
        picture_models=models, features=features, images=images, fetch_urls=fetch_urls,
    )  # fmt: skip
    from dpe_mner.pipeline import CHUNK, PredictionOptions

    explained = explain or html is not None
    options = PredictionOptions(
        steps=steps, spans=spans, seed=seed, batch_size=batch_size, explain=explained, convention=convention
    )
    if on_ray:
        predict_on_ray(
            input_, output, flags,
            choice=choice, visual_text=visual_text, options=options, resume=resume, quiet=quiet,
        )  # fmt: skip
        return
    _check_outputs(output, html, [input_, image, model, visual_text, images, features, *models.values()])
    check_resume(resume, input_, output, html)
    _check_workers(workers, text, html)
    from dpe_mner.scale.workers import Workers, few

    problems: list[Problem] = []
    visual = VisualJoin()
    posts: Iterator[Post] | list[Post]
    if text is not None:
        posts = [Post(text=text, image=image, caption=caption, tags=_tags(tags))]
    else:
        visual = read_visual_join(visual_text, problems)
        columns = Columns(word=word_column, tag=tag_column)
        posts = _read(str(input_), visual, images, problems, columns)
    # The input is opened before the model is loaded and the output after both: a mistyped path costs nothing.
    loaded = choice.load()
    paged = _paged(loaded) if html is not None else None

    def predictions(stretch: Iterable[Post]) -> Iterator[Prediction]:
        return loaded.predictions(stretch, options) if paged is None else paged(stretch, options)

    def depends_on() -> dict[str, str]:
        told: dict[str, object] = {
            "--seed": seed,
            "--steps": steps,
            "--spans": spans,
            "--explain": explained,
            "--convention": convention,
            "--int8": int8,
        }
        told |= {"--dtype": dtype}
        if loaded.pictures is not None:
            folder = images if images is not None else Path(str(input_)).parent
            places = {kind: absolute(name) for kind, name in sorted(models.items())}
            told |= {"--images": absolute(folder), "--features": absolute(features), "--picture-model": places}
            told |= {"--fetch-urls": fetch_urls}
        return what_it_depends_on(digest=file_digest(str(input_)), model=model, visual_text=visual_text, options=told)

    if text is not None and output is None and sys.stdout.isatty() and not explain:
        _show(next(iter(predictions(posts))))
        return
    lines = line_output(output, depends_on if text is None else dict, resume=resume)
    if lines.done:
        note(f"{lines.done} posts are done already; going on after them", quiet=quiet)
        posts = islice(posts, lines.done, None)
    live = input_ is not None and is_live(input_)
    # Posts of like length share a batch: of a file, many are taken at once, or most of a batch would be padding.
    at_once = _AT_ONCE * batch_size
    if workers > 1 and not live:
        alone, posts = few(posts, at_once)  # too few to wait for more processes
        workers = 1 if alone else workers
    pace = Pace(batch_size, CHUNK) if live else Pace(at_once, CHUNK if workers == 1 else at_once, _SECONDS)
    with Workers(workers, choice, options) if workers > 1 else nullcontext() as pool:
        in_stretches = stretches(posts, pace, live=live)
        found = (predictions(stretch) for stretch in in_stretches) if pool is None else pool(in_stretches)
        write_all(found, lines, explain=explained, total=posts, quiet=quiet)
    if paged is not None and html is not None:
        write_text(html, paged.html(title="DPE-MNER: how the entities of each post came about", fetch_urls=fetch_urls))
        first = f" of the first {paged.most}" if paged.total > paged.most else ""
        note(f"{paged.total} posts; the reasoning steps{first} are in {html}", quiet=quiet)
    note_joined(visual, quiet=quiet)
    _refuse_lost(problems, quiet=quiet)


def _check_usage(input_: str | None, text: str | None, single: Mapping[str, str | None]) -> None:
    if (input_ is None) == (text is None):
        raise InputError("give either INPUT or --text; see 'dpe-mner predict --help'")
    for name, value in single.items():
        if text is None and value is not None:
            raise InputError(f"--{name} goes with --text; a file gives each post its own {name!r} key")


def _check_workers(workers: int, text: str | None, html: Path | None) -> None:
    if not 1 <= workers <= _MOST_WORKERS:
        raise InputError(f"--workers must be from 1 to {_MOST_WORKERS}, got {workers}")
    if workers > 1 and text is not None:
        raise InputError("--workers is for a file of posts; leave it out with --text")
    if workers > 1 and html is not None:
        raise InputError("--html keeps the reasoning steps of one process; leave out --workers or --html")


def _check_outputs(output: Path | None, html: Path | None, read: list[Read]) -> None:
    check_standard_output(read)
    if output is not None:
        check_place("--output", output, others=read, beside=(PART, JOURNAL))
    if html is not None:
        check_place("--html", html, others=[*read, output])


def _tags(given: str | None) -> list[str] | None:
    return None if given is None else [tag.strip() for tag in given.split(",") if tag.strip()]


def _paged(model: Predicts) -> PagedPredictor:
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.pages.stream import PagedPredictor
    from dpe_mner.predictor import Predictor

    if not isinstance(model, DPEMNERModel):
        raise InputError("--html: a page shows reasoning steps, and this model takes none; leave --html out")
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
    if name != "-" and (not os.path.exists(name) or os.path.isdir(name)):
        refuse_binary(name)
        raise InputError(f"{name}: no such file; give JSONL, CoNLL, or - for standard input")
    folder = images if images is not None else Path(name).parent
    found = read_posts(name, problems, columns=columns)

    def stream() -> Iterator[Post]:
        empty = True
        for post in found:
            empty = False
            yield complete(post, visual=visual, folder=folder, by_id=images is not None)
        if empty and not problems:
            raise InputError(f'{name}: holds no post; expected JSON with "text" or "words", or CoNLL')

    return stream()


def _show(prediction: Prediction) -> None:
    from rich.console import Console

    from dpe_mner.commands.highlight import entity_table, highlighted

    console = Console()
    console.print(highlighted(prediction.text, prediction.entities))
    if prediction.entities:
        console.print(entity_table(prediction.entities))
    for warning in prediction.warnings:
        note(f"warning: {warning}")
