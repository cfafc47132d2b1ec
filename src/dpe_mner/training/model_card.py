"""The model card a training run writes: what it was trained on, what it reaches, what it cannot do."""

from __future__ import annotations

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from dpe_mner.training.recipe import Recipe


def model_card(recipe: Recipe, metrics: dict[str, Any]) -> str:
    """README.md of a checkpoint.

    Args:
        recipe: What was run.
        metrics: As written to ``metrics.json``.
    """
    validation = metrics["validation"]
    header = ModelCardData(
        library_name="dpe-mner",
        pipeline_tag="token-classification",
        tags=["named-entity-recognition", "multimodal", "diffusion"],
        license="apache-2.0",
        metrics=["precision", "recall", "f1"],
        model_name=recipe.name,
        eval_results=results_of(metrics),
    ).to_yaml()
    types = "\n".join(
        f"| {label} | {s['precision']:.1f} | {s['recall']:.1f} | {s['f1']:.1f} | {s['support']} |"
        for label, s in validation["per_type"].items()
    )
    steps = "\n".join(
        f"| {steps} | {s['calibrated_f1']:.2f} | {s['f1']:.2f} |" for steps, s in metrics["f1_by_steps"].items()
    )
    sources = (["captions and tags from a file"] if metrics["visual_text"] else []) + list(metrics["pictures"])
    vision = f"with {', '.join(sources)}" if sources else "text only"
    training = recipe.training
    error, held_out = (f"{metrics['reliability'][key]:.3f}" for key in ("error", "held_out_error"))
    return f"""---
{header}
---

# {recipe.name}

Named entities in posts that come with a picture, by DPE-MNER: iterative reasoning over entity spans. Labels:
{", ".join(metrics["labels"])}.

```python
import dpe_mner

model = dpe_mner.load("path/to/this/folder")
model.predict("Kevin Durant enters Oracle Arena", caption="a basketball player walks into a gym")
```

## Data

| what | value |
|---|---|
| training posts | {metrics["train_posts"]}, {vision} |
| training file, SHA-256 | `{metrics["train_sha256"]}` |
| validation file, SHA-256 | `{metrics["valid_sha256"]}` |
| encoder | `{recipe.encoder}` |
{_sources(metrics)}
Orphan inside tags are read as the beginning of an entity. The epoch and the decision threshold were selected on the
validation file; the scores below are on that same file, and no test file was read.

## Validation scores (strict span and type, one run, seed {metrics["seed"]})

| type | precision | recall | F1 | support |
|---|---|---|---|---|
| all | {validation["precision"]:.2f} | {validation["recall"]:.2f} | {validation["f1"]:.2f} | {validation["entities"]} |
{types}

| reasoning steps | F1, threshold calibrated for them | F1 without a threshold |
|---|---|---|
{steps}

Reasoning steps by default: {metrics["reasoning"]["steps"]}, decision threshold {metrics["threshold"]}. Best epoch
{metrics["best_epoch"]} of {training.epochs}, batch size {training.batch_size}, {metrics["seconds"] / 60:.0f} minutes of
training, dpe-mner {metrics["package_version"]}, torch {metrics["torch_version"]}. `config.json` holds every setting,
`metrics.json` every figure.

## Limits

* Trained on {metrics["train_posts"]} posts; registers, networks and languages other than theirs are outside it.
* Scores are calibrated on the validation posts: expected calibration error {error}, and {held_out} where each half of
  the entities is judged by the other half (`reliability.png`). On other posts they may say too much.
* Captions come from a captioner and can be wrong; so can what the model makes of them.
* People's names are found in what people wrote. Mind the rights of those named before storing or linking them.
"""


def results_of(metrics: dict[str, Any]) -> list[EvalResult]:
    """Validation scores as leaderboards read them: shares, of each corpus where there are several."""
    scored = {source["name"]: source["validation"] for source in metrics.get("sources", ())}
    return [
        EvalResult(
            task_type="token-classification",
            task_name="Named entity recognition",
            dataset_type="other",
            dataset_name=f"{name}, validation" if name else "validation",
            dataset_split="validation",
            metric_type=kind,
            metric_name=f"{kind}, strict span and type",
            metric_value=round(report[kind] / 100, 4),
        )
        for name, report in (scored or {"": metrics["validation"]}).items()
        for kind in ("precision", "recall", "f1")
    ]


def _sources(metrics: dict[str, Any]) -> str:
    """A table of the corpora and their conventions, where there are several, and a line on silver labels."""
    told = ""
    if "sources" in metrics:
        rows = "".join(
            f"| {s['name']} | {s['convention']} | {', '.join(s['unannotated']) or 'none'} | {s['train_posts']} | "
            f"{s['valid_posts']} | {s['validation']['f1']:.2f} |\n"
            for s in metrics["sources"]
        )
        told = f"""
Corpora differ in what they call an entity. `predict(..., convention="{metrics["sources"][0]["convention"]}")` answers
as one of them; the first is the default. Types that a corpus does not annotate stay out of its losses, its answers and
its score. The threshold is the one with the best mean F1 over the corpora.

| corpus | convention | not annotated | training posts | validation posts | validation F1 |
|---|---|---|---|---|---|
{rows}"""
    if "silver" in metrics:
        silver = metrics["silver"]
        told += (
            f"\nA student: {silver['posts']} of {silver['read']} unlabelled posts, those on which "
            f"{len(silver['teachers'])} teachers agree, were learned from with the teachers' labels.\n"
        )
    return told
