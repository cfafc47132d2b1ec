"""Part ``training``: the time of a training step as a ratio to the bare encoder's forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from dpe_mner.bench.clock import in_turns
from dpe_mner.bench.subject import Subject, peak_memory
from dpe_mner.bench.workload import one_batch, posts_of_length, with_gold
from dpe_mner.checkpoints.saved import WithoutDrawing
from dpe_mner.model import DPEMNERModel
from dpe_mner.settings import Settings

TRAIN_BATCH, TRAIN_SPANS = 32, 60


def measure(subject: Subject) -> dict[str, Any]:
    """A training step at batch 32 against the bare encoder's forward and backward.

    ``step``: 60 spans and the checkpoint's own passes a step; ``one_pass``: 60 spans and one pass, as the paper
    trains; ``own``: the checkpoint's spans and passes.
    """
    model = subject.model
    model.use_transformers()  # as training does
    wide = trained_as(model, noise={"spans": TRAIN_SPANS})
    once = trained_as(model, noise={"spans": TRAIN_SPANS}, loss={"unroll": 1})
    batch = with_gold(one_batch(model, posts_of_length(TRAIN_BATCH, 16, caption_words=12)))
    model.train()

    def step(trained: DPEMNERModel) -> None:
        generator = torch.Generator(device=subject.device).manual_seed(0)
        trained(batch, generator).loss.backward()
        model.zero_grad(set_to_none=True)

    def encoder_step() -> None:
        states = model.text_encoder.encoder(input_ids=batch.text.ids, attention_mask=batch.text.mask.long())
        states.last_hidden_state.square().mean().backward()
        model.zero_grad(set_to_none=True)

    works: dict[str, Callable[[], object]] = {
        "encoder": encoder_step,
        "step": lambda: step(wide),
        "one_pass": lambda: step(once),
        "own": lambda: step(model),
    }
    try:
        seconds = in_turns(works, repeats=subject.repeats, device=subject.device)
    finally:
        model.eval()
    return {
        "train_posts_per_second": round(TRAIN_BATCH / seconds["step"], 1),
        "train_ratio_to_encoder": round(seconds["step"] / seconds["encoder"], 3),
        "train_ratios": {name: round(s / seconds["encoder"], 3) for name, s in seconds.items()},
        "train_peak_memory_mb": round(peak_memory(subject.device), 1),
    }


def trained_as(model: DPEMNERModel, **changes: Mapping[str, Any]) -> DPEMNERModel:
    """The same weights, shared, under other training settings.

    Args:
        model: Has the weights.
        changes: Keys and values of the sections ``noise`` and ``loss`` that no weight depends on.
    """
    values = model.settings.model_dump()
    settings = Settings.model_validate(values | {name: values[name] | dict(given) for name, given in changes.items()})
    with torch.random.fork_rng(devices=[]), WithoutDrawing():
        twin = DPEMNERModel(replace(model.config, settings=settings), model.text_encoder.encoder)
    twin.text_encoder, twin.network = model.text_encoder, model.network
    return twin
