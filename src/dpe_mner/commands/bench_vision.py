"""``dpe-mner bench --only vision``: what it needs, and its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

_PICTURES = ("--images", "--picture-model grid=", "--picture-model tags=")


def measure_vision(
    *,
    seeds: int,
    strategies: Sequence[str] | None,
    tasks: Sequence[str] | None,
    labelled: Path | None,
    model: str | None,
    images: Path | None,
    models: Mapping[str, str],
    output: Path,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """The benchmark's figures; tasks whose data was not named are listed under ``left_out``, with what they want.

    Args:
        seeds: How many, from 0.
        strategies: Fusion strategies; all when not given.
        tasks: Tasks; all when not given.
        labelled: Folder with ``train.txt``, ``valid.txt`` and visual text.
        model: Whose relevance is measured; the bundled model's when not given.
        images: Folder of photographs.
        models: ``grid`` and ``tags``.
        output: Holds the runs of ``answers_in_caption``.
        log: Receives what is being done.

    Raises:
        InputError: If something named is not there.
    """
    from dpe_mner.bench.vision.tasks import STRATEGIES, TASKS, VisionBench, answers_in_caption, check_names

    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    check_names("--strategy", strategies or (), STRATEGIES)
    check_names("--task", tasks or (), TASKS)
    chosen, wanted = list(strategies or STRATEGIES), list(tasks or TASKS)
    left_out: dict[str, str] = {}
    pictures = None
    if images is not None and {"grid", "tags"} <= models.keys():
        from dpe_mner.bench.vision.pixels import read_pictures

        log(f"reading the pictures of {images} ...")
        pictures = read_pictures(images, backbone=models["grid"], detector=models["tags"])
    elif images is not None or models:
        raise InputError(f"bench: the task of pixels needs {', '.join(_PICTURES)}; one of them is missing")
    else:
        left_out["pixels_decide"] = f"needs {', '.join(_PICTURES)}"
    if labelled is not None and not (labelled / "valid.txt").is_file():
        raise InputError(f"--labelled {labelled}: no valid.txt; give a folder such as data/twitter2017")
    result = VisionBench(seeds=range(seeds), strategies=chosen, tasks=wanted, pictures=pictures, log=log)()
    if labelled is None:
        left_out |= dict.fromkeys(("answers_in_caption", "relevance"), "needs --labelled")
    if labelled is not None and "relevance" in wanted:
        result["relevance"] = _relevance(labelled, model)
    if labelled is not None and "answers_in_caption" in wanted:
        result["answers_in_caption"] = answers_in_caption(
            labelled, recipe=None, seeds=range(seeds), strategies=chosen, output=output, log=log
        )
    return result | {"left_out": {task: why for task, why in left_out.items() if task in wanted}}


def _relevance(labelled: Path, model: str | None) -> dict[str, Any]:
    import dpe_mner
    from dpe_mner.bench.vision.relevance import relevance
    from dpe_mner.data.dataset import load_dataset
    from dpe_mner.training.recipe import load_recipe, resolve_encoder
    from dpe_mner.training.shipped import shipped_recipe

    recipe = load_recipe(shipped_recipe("twitter2017-minilm"))
    visual_text = labelled / (recipe.data.visual_text or "visual_text.jsonl")
    posts = load_dataset(labelled / "valid.txt", visual_text=visual_text).posts
    return relevance(dpe_mner.load(model), posts, encoder=resolve_encoder(recipe.encoder))


def vision_table(result: Mapping[str, Any]) -> Table:
    """F1 of own and exchanged vision, each task and strategy a row: the mean, and the worst seed."""
    from rich.table import Table

    table = Table(title=f"where only vision can tell, seeds {result['seeds']}", title_justify="left")
    for name in ("task", "fusion"):
        table.add_column(name)
    for name in ("own", "worst", "exchanged", "H_m at its mean"):
        table.add_column(name, justify="right")
    tasks = {name: result[name] for name in ("caption_decides", "which_name", "steps", "answers_in_caption")
             if name in result}  # fmt: skip
    tasks |= {f"pixels: {part}": rows for part, rows in result.get("pixels_decide", {}).items()}
    for task, rows in tasks.items():
        for strategy, row in rows.items():
            mean_state = result["mean_state"].get(task, {}).get(strategy, {}).get("mean_state")
            table.add_row(
                task.replace("_", " "),
                strategy,
                f"{_mean(row['own']):.1f}",
                f"{min(row['own']):.1f}",
                f"{_mean(row['exchanged']):.1f}",
                "" if mean_state is None else f"{_mean(mean_state):.1f}",
            )
    return table


def vision_lines(result: Mapping[str, Any]) -> list[str]:
    """What the table does not hold."""
    lines = []
    if "steps" in result:
        for name, row in result["steps"].items():
            by_step = row["f1_by_step"].items()
            lines.append(f"steps, {name}: F1 after " + ", ".join(f"{k}: {_mean(v):.1f}" for k, v in by_step))
    for grain, levels in result.get("relevance", {}).items():
        shown = ", ".join(
            f"{name} {level['auc']:.3f} (deviation {level['gate_deviation']:.2f})"
            for name, level in levels.items()
            if isinstance(level, dict)
        )
        lines.append(f"relevance, {grain}: AUC {shown}; cosine of the encoder {levels['encoder_cosine_auc']:.3f}")
    return lines + [f"{task}: left out, {why}" for task, why in result["left_out"].items()]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
