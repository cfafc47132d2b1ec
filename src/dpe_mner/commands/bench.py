"""``dpe-mner bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpe_mner.commands.bench_vision import VISION, check_parts, measure_vision, vision_lines, vision_table
from dpe_mner.commands.console import note
from dpe_mner.commands.options import Device, Dtype, Images, Model, PictureModels, Quiet, VisualText, picture_models
from dpe_mner.commands.places import Read, check_folder, check_place, check_standard_output, write_text
from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


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
        typer.Option("--only", metavar="PART", help="prediction, latency, scaling, training or vision; repeatable."),
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

    Example: dpe-mner bench --only vision --seeds 3 --json vision.json
    """
    for name, value in (("--batch-size", batch_size), ("--repeats", repeats), ("--threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if plot is not None and only and "scaling" not in only:
        raise InputError("--plot draws the scaling table; add --only scaling")
    _check_outputs(json_, plot, output, [data, visual_text, model, labelled, images])
    from dpe_mner.data.dataset import load_dataset

    posts = load_dataset(data, visual_text=visual_text).posts if data is not None else None
    import torch

    import dpe_mner
    from dpe_mner.bench.speed import PARTS, Bench, default_posts

    if threads is not None:
        torch.set_num_threads(threads)
    check_parts(only or ())
    if only and VISION in only:
        found = measure_vision(
            seeds=seeds,
            strategies=strategy,
            tasks=task,
            labelled=labelled,
            model=model,
            images=images,
            models=picture_models(picture_model),
            output=output,
            log=lambda line: note(line, quiet=quiet),
        )
        _write(json_, found)
        _show_vision(found)
        return
    loaded = dpe_mner.load(model, device=device, dtype="bfloat16" if bf16 else dtype)
    measured = Bench(loaded, posts if posts is not None else default_posts(), batch_size=batch_size, repeats=repeats)
    result = measured(only or PARTS, log=lambda line: note(line, quiet=quiet)) | {"model": model or "bundled"}
    _write(json_, result)
    if plot is not None:
        from dpe_mner.pages.scaling import plot_scaling

        plot_scaling(result["scaling_ms"], plot)
    _show(result)


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


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    console.print(f"{result['posts']} posts, {result['device']}, {result['dtype']}", highlight=False)
    if "ratios" in result:
        console.print(_prediction_table(result))
        console.print(f"peak memory predicting: {result['peak_memory_mb']:.0f} MB")
    if "latency_ms" in result:
        latency = result["latency_ms"]
        console.print(f"one post alone: {latency['p50']:.1f} ms (median), {latency['p99']:.1f} ms (99th percentile)")
    if "scaling_ms" in result:
        console.print(_scaling_table(result["scaling_ms"]))
    if "train_ratios" in result:
        ratios = result["train_ratios"]
        console.print(
            f"training step, batch 32, in times of the encoder's forward and backward: {ratios['one_pass']:.2f} with "
            f"60 spans and one pass, {ratios['step']:.2f} with 60 spans and the model's own passes "
            f"({result['train_posts_per_second']:.0f} posts/s), {ratios['own']:.2f} with its own spans and passes"
        )
        console.print(f"peak memory, training too: {result['train_peak_memory_mb']:.0f} MB")


def _prediction_table(result: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("what")
    table.add_column("posts/s", justify="right")
    table.add_column("time, encoder = 1", justify="right")
    names = {"encoder": "bare encoder, posts only", "encoder_all": "bare encoder, captions and tags too"}
    for name, rate in result["posts_per_second"].items():
        shown = names.get(name, f"predict, {name.replace('_', ' ')}")
        table.add_row(
            shown, f"{rate:.0f}", f"{result['ratios'][name]:.2f}", style="bold" if name == "default" else None
        )
    return table


def _scaling_table(scaling: dict[str, dict[str, float]]) -> Table:
    from rich.table import Table

    table = Table(title="milliseconds a call, as one size grows", title_justify="left")
    table.add_column("what grows")
    table.add_column("size: time")
    for axis, times in scaling.items():
        table.add_row(axis.replace("_", " "), "   ".join(f"{size}: {ms:.0f}" for size, ms in times.items()))
    return table
