"""What torch.compile gives: the bare encoder and the rest of a prediction, eager and compiled, and the first calls.

Posts of one shape only, the most frequent: every other shape would compile again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import dpe_mner
from dpe_mner.bench.clock import wait_for
from dpe_mner.bench.workload import batches_of
from dpe_mner.data.dataset import load_dataset
from dpe_mner.model import DPEMNERModel
from dpe_mner.representations.batch import Batch


def works_of(model: DPEMNERModel, batches: list[Batch]) -> dict[str, Callable[[], None]]:
    """The encoder over all batches, and what :meth:`DPEMNERModel.reason` does behind the representations."""
    encoder, encode = model.text_encoder.encoder, model.encode
    compiled = torch.compile(encoder)
    eager = model.network.prepare, model.network.forward
    fused = torch.compile(eager[0]), torch.compile(eager[1])
    with torch.inference_mode():
        known = {id(batch): encode(batch) for batch in batches}

    @torch.inference_mode()
    def posts(module: Callable[..., object]) -> None:
        for batch in batches:
            module(input_ids=batch.text.ids, attention_mask=batch.text.mask.long())

    def reason(parts: tuple[Callable[..., object], Callable[..., object]]) -> None:
        model.network.prepare, model.network.forward = parts  # type: ignore[assignment]
        model.encode = lambda batch: known[id(batch)]  # type: ignore[method-assign]
        try:
            for batch in batches:
                model.reason(batch)
        finally:
            model.network.prepare, model.network.forward = eager  # type: ignore[method-assign]
            model.encode = encode  # type: ignore[method-assign]

    return {
        "encoder": lambda: posts(encoder),
        "encoder, compiled": lambda: posts(compiled),
        "reasoning": lambda: reason(eager),
        "reasoning, compiled": lambda: reason(fused),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--model")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text).posts
    model = dpe_mner.load(arguments.model, device=arguments.device)
    shapes: dict[tuple[int, ...], list[Batch]] = {}
    for batch in batches_of(model, posts, 64):
        captions = 0 if batch.caption is None else batch.caption.ids.shape[1]
        shapes.setdefault((len(batch), batch.text.ids.shape[1], batch.words, captions), []).append(batch)
    batches = [batch.to(model.device) for batch in max(shapes.values(), key=len)]
    seconds: dict[str, list[float]] = {}
    works = works_of(model, batches)
    for _ in range(arguments.repeats + 1):  # in turn, so that a drifting machine touches all alike
        for name, work in works.items():
            started = time.perf_counter()
            work()
            wait_for(model.device)
            seconds.setdefault(name, []).append(time.perf_counter() - started)
    print(f"{sum(map(len, batches))} posts")
    base = statistics.median(seconds["encoder"][1:])
    for name, (first, *later) in seconds.items():
        usual = statistics.median(later)
        print(f"{name:22} {usual:6.2f} s  {usual / base:5.2f}x the encoder; first time {first:6.1f} s")


if __name__ == "__main__":
    main()
