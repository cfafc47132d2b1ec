"""``dpe-mner evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpe_mner.commands.analysis import BUNDLED, check_outputs, check_train_data, show_analysis
from dpe_mner.commands.comparison import Question, hold
from dpe_mner.commands.console import note, print_report, tell_unused
from dpe_mner.commands.findings import note_dataset, note_problems
from dpe_mner.commands.options import (
    BatchSize,
    Convention,
    Device,
    Dtype,
    Features,
    FetchUrls,
    IgnoreLabel,
    Images,
    Int8,
    LabelMap,
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
from dpe_mner.commands.places import write_text
from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import Dataset, load_dataset
from dpe_mner.data.labels import LabelRules, parse_label_map
from dpe_mner.errors import InputError
from dpe_mner.pages.scores import STEPS, plot_scores
from dpe_mner.types import Post

if TYPE_CHECKING:
    from dpe_mner.evaluation.answers import Answers
    from dpe_mner.evaluation.score import Report
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.pipeline import PredictionOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    data: Annotated[Path, typer.Argument(help="Labelled CoNLL or JSONL file.")],
    model: Model = None,
    visual_text: VisualText = None,
    images: Images = None,
    picture_model: PictureModels = None,
    features: Features = None,
    fetch_urls: FetchUrls = False,
    label_map: LabelMap = None,
    tag_column: TagColumn = None,
    word_column: WordColumn = 1,
    ignore_label: IgnoreLabel = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the scores as JSON.")] = None,
    errors: Annotated[
        list[Path] | None,
        typer.Option("--errors", help="Every error: a page (.html) or data (.json). May be repeated."),
    ] = None,
    train_data: Annotated[
        Path | None, typer.Option("--train-data", help="Training file: tells seen entities from unseen ones.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Compare with another model: a folder, a hub id, or 'bundled'.")
    ] = None,
    against_without: Annotated[
        str | None,
        typer.Option(
            "--against-without",
            metavar="[pictures|captions|all]",
            help="Compare with the same model, the posts' pictures, captions and tags, or both taken away.",
        ),
    ] = None,
    against_exchanged: Annotated[
        str | None,
        typer.Option(
            "--against-exchanged",
            metavar="[captions|tags|pictures|all]",
            help="Score the same posts with another post's, beside their own; --seed draws whose.",
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            metavar="[mean-state]",
            help="Score with every span state H_m replaced by their mean: what goes round fusion and reasoning.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw F1 by reasoning step and by type (.png, .svg).")
    ] = None,
    seed: Seed = 0,
    steps: Steps = None,
    spans: Spans = None,
    convention: Convention = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    int8: Int8 = False,
    dtype: Dtype = "float32",
    quiet: Quiet = False,
) -> None:
    """Strict precision, recall and F1 on labelled posts, overall and by type.

    Example: dpe-mner evaluate valid.txt --visual-text visual_text.jsonl --label-map OTHER=MISC --json scores.json

    Example: dpe-mner evaluate valid.txt --errors errors.html --train-data train.txt --against-without captions

    Example: dpe-mner evaluate valid.txt --visual-text visual_text.jsonl --against-exchanged captions --json c.json
    """
    errors = errors or []
    check_outputs(json_, errors, plot, read=[data, visual_text, train_data, model, against, images, features])
    check_train_data(train_data, errors)
    question = Question(against, against_without, against_exchanged, control)
    question.check()
    from dpe_mner.pipeline import PredictionOptions

    labels = LabelRules(parse_label_map(label_map), ignore_label or ())
    models = picture_models(picture_model)
    options = PredictionOptions(steps=steps, spans=spans, seed=seed, batch_size=batch_size, convention=convention)
    columns = Columns(word=word_column, tag=tag_column)
    dataset = load_dataset(data, visual_text=visual_text, images=images, columns=columns, labels=labels)
    train = None if train_data is None else load_dataset(train_data, columns=columns, labels=labels)
    tell_unused(labels, quiet=quiet)
    import dpe_mner
    from dpe_mner.data.gold import check_labels
    from dpe_mner.evaluation.analysis import analyse, control_as_dict
    from dpe_mner.evaluation.answers import answer_posts, require_labels

    require_labels(dataset)
    if train is not None:
        require_labels(train)
    note_dataset(dataset, labelled=True, quiet=quiet)

    def load(name: str | None) -> DPEMNERModel:
        loaded = dpe_mner.load(name, device=device, int8=int8, dtype=dtype)
        read = models if name == model else _readable(loaded, models)
        if read or features is not None or fetch_urls:
            loaded.use_pictures(models=read, store=features, images=images, fetch_urls=fetch_urls)
        check_labels(dataset.labels, loaded.labels, where=str(data))
        return loaded

    def answer(model: DPEMNERModel, posts: Sequence[Post], options: PredictionOptions = options) -> Answers:
        return answer_posts(
            model, posts, options, quiet=quiet, note=lambda line: note(line, quiet=quiet), ignore_labels=labels.ignored
        )

    loaded = load(model)
    held = hold(
        question,
        loaded,
        dataset.posts,
        answer=answer,
        load=load,
        options=options,
        quiet=quiet,
        ignore_labels=labels.ignored,
    )
    report = held.own.report
    gamma = steps or loaded.usual[0]
    described = {
        "labels_sha256": dataset.sha256,
        "model": model or BUNDLED,
        "seed": seed,
        "steps": gamma,
        "spans": spans or loaded.usual[1],
    }
    title = f"{data}: {report.posts} posts, labels {dataset.sha256[:12]}"
    print_report(report, title=title)
    own: dict[str, Any] = report.as_dict()
    under_control: dict[str, Any] = {}
    if errors or held.others is not None:
        analysis = analyse(
            held.own,
            data=str(data),
            model=model or BUNDLED,
            train=None if train is None else train.posts,
            train_data=None if train_data is None else str(train_data),
            others=held.others,
            other=held.name,
        )
        own |= show_analysis(analysis, errors, fetch_urls=fetch_urls, lines=held.lines)
        if held.control and analysis.comparison is not None:
            under_control = control_as_dict(report, analysis.comparison) | held.figures
    by_steps: dict[int, Report] = {}
    if plot is not None:
        by_steps = {n: answer(loaded, dataset.posts, replace(options, steps=n)).report for n in set(STEPS) - {gamma}}
        by_steps[gamma] = report
        own["f1_by_steps"] = {str(number): by_steps[number].overall.f1 for number in sorted(by_steps)}
    if json_ is not None:
        # Under a control its scores are the file's; what was found of the answers as they are has a place of its own.
        result = under_control | described | {"own": own} if under_control else own | described
        write_text(json_, json.dumps(result, indent=2) + "\n")
    if plot is not None:
        plot_scores(by_steps, steps=gamma, title=f"{model or BUNDLED} on {title}", path=plot)
    _refuse_lost(dataset, quiet=quiet)


def _readable(model: DPEMNERModel, models: Mapping[str, str]) -> dict[str, str]:
    """Picture models a rival can use: captions and tags always, image features if it was trained on them."""
    known = set(() if model.pictures is None else model.pictures.reader.kinds)
    return {kind: name for kind, name in models.items() if kind in known | {"caption", "tags"}}


def _refuse_lost(dataset: Dataset, *, quiet: bool) -> None:
    """End in an error, after everything is done, when lines of the data could not be used."""
    lost = note_problems(dataset.problems, quiet=quiet)
    if lost:
        raise InputError(f"{dataset.path}: {len(lost)} lines could not be used; the scores cover all others")
