"""``dpe-mner evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dpe_mner.commands.console import note, print_report
from dpe_mner.commands.options import (
    BatchSize,
    Device,
    Features,
    FetchUrls,
    Images,
    Int8,
    LabelMap,
    Model,
    PictureModels,
    Quiet,
    Seed,
    Spans,
    Steps,
    VisualText,
    picture_models,
)
from dpe_mner.data.dataset import load_dataset
from dpe_mner.errors import InputError


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
    json_: Annotated[Path | None, typer.Option("--json", help="Write the scores as JSON.")] = None,
    seed: Seed = 0,
    steps: Steps = None,
    spans: Spans = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    int8: Int8 = False,
    quiet: Quiet = False,
) -> None:
    """Strict precision, recall and F1 on labelled posts, overall and by type.

    Example: dpe-mner evaluate valid.txt --visual-text visual_text.jsonl --label-map OTHER=MISC --json scores.json
    """
    from dpe_mner.predictor import PredictionOptions

    renamed = parse_label_map(label_map)
    models = picture_models(picture_model)
    options = PredictionOptions(steps=steps, spans=spans, seed=seed, batch_size=batch_size)
    dataset = load_dataset(data, visual_text=visual_text, images=images, label_map=renamed)
    import dpe_mner
    from dpe_mner.checkpoint import check_labels
    from dpe_mner.evaluation.run import evaluate_posts, require_labels

    require_labels(dataset)
    loaded = dpe_mner.load(model, device=device, int8=int8)
    if models or features is not None or fetch_urls:
        loaded.use_pictures(models=models, store=features, images=images, fetch_urls=fetch_urls)
    check_labels(dataset.labels, loaded, where=str(data))
    report = evaluate_posts(loaded, dataset.posts, options, quiet=quiet, note=lambda line: note(line, quiet=quiet))
    result = report.as_dict() | {
        "labels_sha256": dataset.sha256,
        "model": model or "bundled",
        "seed": seed,
        "steps": steps or loaded.settings.reasoning.steps,
        "spans": spans or loaded.settings.reasoning.spans or loaded.settings.noise.spans,
    }
    if json_ is not None:
        try:
            json_.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{json_}: cannot be written ({error.strerror})") from None
    print_report(report, title=f"{data}: {report.posts} posts, labels {dataset.sha256[:12]}")
    lost = [problem for problem in dataset.problems if problem.loses_data]
    for problem in lost:
        note(str(problem))
    if lost:
        raise InputError(f"{data}: {len(lost)} lines could not be used; the scores cover all others")


def parse_label_map(pairs: list[str] | None) -> dict[str, str]:
    """``["OTHER=MISC"]`` to a dictionary.

    Raises:
        InputError: If a pair has no ``=``.
    """
    renamed = {}
    for pair in pairs or ():
        old, equals, new = pair.partition("=")
        if not equals or not old or not new:
            raise InputError(f"--label-map {pair!r}: expected OLD=NEW, e.g. OTHER=MISC")
        renamed[old] = new
    return renamed
