"""``dpe-mner bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dpe_mner.commands.bench_report import show
from dpe_mner.commands.bench_vision import measure_vision, vision_lines, vision_table
from dpe_mner.commands.console import note
from dpe_mner.commands.findings import note_dataset
from dpe_mner.commands.options import (
    Device,
    Dtype,
    Images,
    LabelMap,
    Model,
    PictureModels,
    Quiet,
    VisualText,
    picture_models,
)
from dpe_mner.commands.places import Read, check_folder, check_place, check_standard_output, write_text
from dpe_mner.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    data: Annotated[
        Path | None, typer.Argument(help="Posts to measure with; the demonstration posts if absent.")
    ] = None,
    model: Model = None,
    visual_text: VisualText = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the scaling table, log-log, as a PNG.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PART[,PART]",
            help="cold_start, prediction, latency, scaling, phases, int8, paper_setting, pictures, memory, training; "
            "or vision by itself. May be repeated; prediction, latency, scaling and training if absent.",
        ),
    ] = None,
    label_map: LabelMap = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", help="Of --only cold_start: folder that dpe-mner export wrote.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Of --only vision: how many, from 0.")] = 3,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", help="Of --only vision: fusion to compare; all if absent.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="Of --only vision: tasks; all if absent.")] = None,
    labelled: Annotated[
        Path | None, typer.Option("--labelled", help="Of --only vision: folder with train.txt, valid.txt, captions.")
    ] = None,
    images: Images = None,
    picture_model: PictureModels = None,
    output: Annotated[Path, typer.Option("--output", help="Of --only vision: where its training runs go.")] = Path(
        "runs/bench-vision"
    ),
    batch_size: Annotated[int, typer.Option("--batch-size", help="Posts computed together.")] = 64,
    repeats: Annotated[int, typer.Option("--repeats", help="Rounds; medians are kept.")] = 3,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads.")] = None,
    dtype: Dtype = "float32",
    bf16: Annotated[bool, typer.Option("--bf16", help="The same as --dtype bfloat16.")] = False,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Speed and memory of this machine, as ratios to the bare encoder pass in the same run; --only vision: mechanisms.

    Example: dpe-mner bench --json bench.json

    Example: dpe-mner bench valid.txt --visual-text visual_text.jsonl --threads 2

    Example: dpe-mner bench --only training --repeats 5

    Example: dpe-mner bench valid.txt --label-map OTHER=MISC --only int8,paper_setting

    Example: dpe-mner bench --only vision --seeds 3 --json vision.json
    """
    for name, value in (("--batch-size", batch_size), ("--repeats", repeats), ("--threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    _check_outputs(json_, plot, output, [data, visual_text, model, labelled, images])
    from dpe_mner.data.dataset import load_dataset
    from dpe_mner.data.labels import parse_label_map

    renamed, models = parse_label_map(label_map), picture_models(picture_model)
    posts = None
    if data is not None:
        dataset = load_dataset(data, visual_text=visual_text, images=images, label_map=renamed)
        posts = dataset.posts
        note_dataset(dataset)
    import torch

    from dpe_mner.bench.parts import VISION, measure, named_parts
    from dpe_mner.bench.subject import Subject
    from dpe_mner.bench.workload import sample_posts
    from dpe_mner.checkpoints.hub import bundled_folder

    parts = named_parts(only)
    if plot is not None and "scaling" not in parts:
        raise InputError("--plot draws the scaling table; add --only scaling")
    if threads is not None:
        torch.set_num_threads(threads)
    if VISION in parts:
        found = measure_vision(
            seeds=seeds,
            strategies=strategy,
            tasks=task,
            labelled=labelled,
            model=model,
            images=images,
            models=models,
            output=output,
            log=lambda line: note(line, quiet=quiet),
        )
        _write(json_, found)
        _show_vision(found)
        return
    import dpe_mner

    subject = Subject(
        model=dpe_mner.load(model, device=device, dtype="bfloat16" if bf16 else dtype),
        posts=sample_posts(256) if posts is None else posts,
        batch_size=batch_size,
        repeats=repeats,
        checkpoint=model or str(bundled_folder()),
        onnx=onnx,
        images=images,
        picture_models=models,
    )
    result = measure(subject, parts, log=lambda line: note(line, quiet=quiet)) | {"model": model or "bundled"}
    _write(json_, result)
    if plot is not None:
        from dpe_mner.pages.scaling import plot_scaling

        plot_scaling(result["scaling_ms"], plot)
    show(result)


def _check_outputs(json_: Path | None, plot: Path | None, output: Path, read: list[Read]) -> None:
    check_standard_output(read)
    if json_ is not None:
        check_place("--json", json_, others=[*read, plot])
    if plot is not None:
        check_place("--plot", plot, others=read)
    check_folder("--output", output, others=read)


def _write(path: Path | None, result: dict[str, Any]) -> None:
    if path is not None:
        write_text(path, json.dumps(result, indent=2) + "\n")


def _show_vision(result: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    console.print(vision_table(result))
    for line in vision_lines(result):
        console.print(line, highlight=False)
