"""Part ``phases``: where the time of a prediction goes, by its public stages and by hooks on the network's modules."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from dpe_mner.bench.clock import wait_for
from dpe_mner.bench.subject import Subject
from dpe_mner.data.words import words_of
from dpe_mner.model import DPEMNERModel
from dpe_mner.predictor import batches_of_like_shape, collate_windows, decode_trace
from dpe_mner.representations.batch import Batch

T = TypeVar("T")
Seconds = dict[str, float]


def measure(subject: Subject) -> dict[str, Any]:
    """Seconds of a prediction and the share of each of its phases, medians over rounds.

    ``parts`` add up to the whole: tokenizing, batching, the encoder over posts and over captions and tags, what no
    span changes (``prepare``), the span passes, decoding. ``inside`` are modules within ``prepare`` and ``spans``.
    """
    rounds = [one_round(subject) for _ in range(subject.repeats + 1)][1:]  # the first warms up
    median = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    parts = {name: seconds for name, seconds in median.items() if not name.startswith("inside_")}
    total = sum(parts.values())
    shares = {name: round(100 * seconds / total, 2) for name, seconds in median.items()}
    return {
        "phases": {
            "seconds": round(total, 4),
            "parts": {name: shares[name] for name in parts},
            "inside": {name.removeprefix("inside_"): shares[name] for name in median if name not in parts},
        }
    }


def one_round(subject: Subject) -> Seconds:
    """Seconds of each phase of predicting all posts once."""
    model, tokenizer, device = subject.model, subject.tokenizer, subject.device
    seconds: Seconds = defaultdict(float)

    def timed(name: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = work()
        wait_for(device)
        seconds[name] += time.perf_counter() - started
        return result

    windows = timed(
        "tokenizing",
        lambda: [w for i, p in enumerate(subject.posts) for w in tokenizer.windows(p, words_of(p), index=i)],
    )
    batches = timed(
        "batching",
        lambda: [
            collate_windows(group, pad_id=tokenizer.pad_id).to(device)
            for group in batches_of_like_shape(windows, subject.batch_size)
        ],
    )
    for batch in batches:
        _reason(model, batch, seconds, timed)
    return seconds


def _reason(
    model: DPEMNERModel, batch: Batch, seconds: Seconds, timed: Callable[[str, Callable[[], Any]], Any]
) -> None:
    """Encode for itself, then reason; what reasoning takes besides encoding and span passes is ``prepare``."""
    alone: Seconds = defaultdict(float)
    with torch.inference_mode(), watched({"posts": model.text_encoder}, alone, model.device):
        started = time.perf_counter()
        model.encode(batch)
        wait_for(model.device)
        encoding = time.perf_counter() - started
    inner: Seconds = defaultdict(float)
    with watched({"spans": model.network, **modules_inside(model)}, inner, model.device):
        started = time.perf_counter()
        trace = model.reason(batch)
        wait_for(model.device)
        reasoning = time.perf_counter() - started
    seconds["encoder_posts"] += alone["posts"]
    seconds["encoder_captions_and_tags"] += encoding - alone["posts"]
    seconds["prepare"] += reasoning - encoding - inner["spans"]
    for name, spent in inner.items():
        seconds[name] += spent
    timed("decoding", lambda: decode_trace(model, trace))


def modules_inside(model: DPEMNERModel) -> dict[str, nn.Module]:
    """The modules of the network that are timed for themselves, as far as this network has them."""
    network = model.network
    found: dict[str, nn.Module] = {}
    if network.dynamic:
        names = {"t": "token_level", "g": "sentence_level", "s": "span_level"}
        found = {f"inside_{names[i]}": network.text_level(i) for i in network.levels}
    return found | {
        "inside_span_aggregator": network.span_aggregator,
        "inside_top_layer": network.top,
        "inside_heads": network.heads,
    }


@contextmanager
def watched(modules: dict[str, nn.Module], seconds: Seconds, device: torch.device) -> Iterator[None]:
    """Add up the time of each call of modules meanwhile, by PyTorch's own hooks.

    Args:
        modules: By the name to add up under.
        seconds: Where to.
        device: Waited for before and after each call.
    """
    handles = []
    for name, module in modules.items():
        started: list[float] = []

        def begin(module: nn.Module, given: Any, *, started: list[float] = started) -> None:
            wait_for(device)
            started.append(time.perf_counter())

        def end(
            module: nn.Module, given: Any, result: Any, *, name: str = name, started: list[float] = started
        ) -> None:
            wait_for(device)
            seconds[name] += time.perf_counter() - started.pop()

        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
