"""How long runs will take: from finished runs of the same experiment, else from a few timed training steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import mean

from dpe_mner.reproduce.plan import Plan, PlannedRun
from dpe_mner.training.folder import read_metrics

Probe = Callable[[Plan], float]
STEPS = 4  # timed, after one to warm up
POSTS = 96  # validated


def estimates(plan: Plan, probe: Probe | None) -> dict[str, float | None]:
    """Seconds that each run still to be trained will take, by its name; None where nothing tells.

    Args:
        plan: Gives the runs.
        probe: Times a run where no finished run tells; None to leave that out.
    """
    known: dict[str, list[float]] = {}
    for run in plan.runs:
        metrics = read_metrics(Path(run.recipe.output)) if run.state == "finished" else None
        if metrics is not None and metrics.get("seconds"):
            known.setdefault(run.row.id, []).append(float(metrics["seconds"]))
    ours = [seconds for name, found in known.items() for seconds in found if plan.rows[name].row.baseline is None]
    waiting = [run for run in plan.to_do if run.row.baseline is None and run.row.id not in known]
    other = mean(ours) if ours else probe(plan) if probe is not None and waiting else None
    return {run.name: _of(run, known, other) for run in plan.to_do}


def _of(run: PlannedRun, known: dict[str, list[float]], other: float | None) -> float | None:
    if run.row.id in known:
        return mean(known[run.row.id])
    return other if run.row.baseline is None else None


def probe_run(plan: Plan) -> float:
    """Seconds of the first run that is not a baseline's: a few training steps and a part of a validation, scaled up.

    Pictures, and what the network does with them, are not in it: reading them would fetch and run all their models.
    """
    import torch

    from dpe_mner.model import DPEMNERModel
    from dpe_mner.training.batches import LengthGroupedBatches
    from dpe_mner.training.examples import ExampleCollator, make_examples
    from dpe_mner.training.pictures import best_device
    from dpe_mner.training.recipe import resolve_encoder
    from dpe_mner.training.train import STEP_COUNTS
    from dpe_mner.training.trainer import bf16_is_native
    from dpe_mner.training.validate import Validator

    recipe = next(run.recipe for run in plan.to_do if run.row.baseline is None)
    training, device = recipe.training, best_device()
    labels = recipe.data.labels or plan.train.labels
    model = DPEMNERModel.from_encoder(resolve_encoder(recipe.encoder), labels=labels, settings=recipe.settings)
    model.to(device).train()
    assert model.tokenizer is not None
    examples = make_examples(plan.train.posts, model.tokenizer, labels)
    order = list(
        LengthGroupedBatches([e.length for e in examples], batch_size=training.batch_size, seed=0, epoch=lambda: 0)
    )
    collator = ExampleCollator(pad_id=model.tokenizer.pad_id)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    generator = torch.Generator(device=device).manual_seed(0)
    bf16 = bf16_is_native() if training.bf16 == "auto" else training.bf16
    batches = [order[k : k + training.batch_size] for k in range(0, len(order), training.batch_size)]
    chosen = [batches[k * len(batches) // (STEPS + 1)] for k in range(STEPS + 1)]
    started = 0.0
    for k, members in enumerate(chosen):
        if k == 1:
            started = time.monotonic()
        batch = collator([examples[i] for i in members])["batch"].to(device)
        with torch.autocast(device, torch.bfloat16) if bf16 else nullcontext():
            loss = model(batch, generator).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # waits for a GPU
    step = (time.monotonic() - started) / STEPS
    sample = [replace(post, image=None) for post in plan.valid.posts[:: max(len(plan.valid.posts) // POSTS, 1)]]
    started = time.monotonic()
    Validator(sample, batch_size=training.eval_batch_size)(model)
    validation = (time.monotonic() - started) * len(plan.valid.posts) / len(sample)
    # A run ends with a validation at each of several step counts.
    return training.epochs * (step * len(batches) + validation) + len(STEP_COUNTS) * validation
