"""``dpe-mner export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpe_mner.commands.console import note
from dpe_mner.commands.findings import note_dataset
from dpe_mner.commands.options import Model, Quiet, Seed, Steps, VisualText
from dpe_mner.commands.places import check_folder
from dpe_mner.errors import InputError

_CHECKED = 200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    output: Annotated[Path, typer.Option("--output", help="Folder to write.")],
    format_: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    model: Model = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Posts to compare both on; the demonstration's if absent.")
    ] = None,
    visual_text: VisualText = None,
    steps: Steps = None,
    seed: Seed = 0,
    share_weights: Annotated[
        bool,
        typer.Option("--share-weights", help="--output is the checkpoint: the graph reads the weights that lie there."),
    ] = False,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads of both, for the timings.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write a model for onnxruntime, check that it finds the same entities, and time it against PyTorch.

    Example: dpe-mner export --format onnx --output exported --data valid.txt --visual-text visual_text.jsonl

    Example: dpe-mner export --model runs/mine --output runs/mine --share-weights
    """
    if format_ != "onnx":
        raise InputError(f"--format {format_!r}: only onnx is known")
    for name, value in (("--steps", steps), ("--threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    check_folder("--output", output, others=[data, visual_text, *([] if share_weights else [model])])
    _check_foreign(output, share_weights=share_weights)
    from dpe_mner.data.dataset import load_dataset
    from dpe_mner.data.demo import demo_posts

    posts = demo_posts(pictures=False)
    if data is not None:
        dataset = load_dataset(data, visual_text=visual_text)
        posts = dataset.posts[:_CHECKED]
        note_dataset(dataset, quiet=quiet)
    import torch

    import dpe_mner
    from dpe_mner.onnx.export import check_parity, export_onnx
    from dpe_mner.onnx.runtime import OnnxModel

    if threads is not None:
        torch.set_num_threads(threads)
    loaded = dpe_mner.load(model)
    note("exporting, a minute or so ...", quiet=quiet)
    export_onnx(loaded, output, steps=steps, seed=seed, share_weights=share_weights)
    exported = OnnxModel(output, threads=threads)
    parity = check_parity(loaded, exported, posts)
    size = (output / "model.onnx").stat().st_size / 2**20
    note(f"{output}: model.onnx has {size:.1f} MB, {exported.card['steps']} reasoning steps", quiet=quiet)
    worst = parity.largest_difference
    note(f"same entities in {parity.same} of {parity.posts} posts, scores within {worst:g}", quiet=quiet)
    for name, seconds in parity.seconds.items():
        note(f"  {name}: {parity.posts / seconds:.0f} posts/s", quiet=quiet)
    if parity.same < parity.posts:
        raise RuntimeError(f"the export differs from its model in {parity.posts - parity.same} posts")


def _check_foreign(output: Path, *, share_weights: bool) -> None:
    """Refuse a folder whose tokenizer or graph is not an earlier export's: they would be overwritten."""
    if share_weights or (output / "runtime.json").is_file():
        return
    for name in ("config.json", "model.safetensors", "model.onnx", "tokenizer.json"):
        if (output / name).exists():
            raise InputError(
                f"--output {output}: holds {name} and no export; choose another folder, or add --share-weights if it "
                "is the model's own"
            )
