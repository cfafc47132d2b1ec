"""What a run leaves in its folder: the files of any other run, so that ``reproduce`` reads them alike."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dpe_mner.data.jsonl import json_line
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.evaluation.score import Report
from dpe_mner.llm.run import Result
from dpe_mner.version import __version__

# The names of training.folder, which needs packages that this part does without; a test holds them together.
METRICS, PREDICTIONS = "metrics.json", "predictions.jsonl"
CACHE = "answers"
KIND = "llm"  # what metrics.json calls such a run under "baseline"


def prepare_folder(folder: Path, settings: dict[str, Any], sha256: str) -> None:
    """Make the folder of a run, unless something else lies there.

    Args:
        folder: The output.
        settings: What decides the figures.
        sha256: Of the file of posts.

    Raises:
        InputError: Saying what lies there, or why it cannot be made.
    """
    other = "choose another --output"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
        if not os.access(folder, os.W_OK):
            raise InputError(f"{folder}: cannot be written (read-only); {other}")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); {other}") from None
    foreign = sorted(there - {METRICS, PREDICTIONS, CACHE})
    if foreign:
        raise InputError(f"{folder}: holds {foreign[0]}, so it is not the folder of such a run; {other}")
    if METRICS not in there:
        return
    metrics = read_run(folder)
    if metrics is None:
        raise InputError(f"{folder}: its {METRICS} is not of dpe-mner baseline llm; {other}")
    found = metrics.get("settings") or {}
    differing = [name for name in {**found, **settings} if found.get(name) != settings.get(name)]
    if metrics.get("valid_sha256") != sha256:
        differing.insert(0, "the posts")
    if differing:
        raise InputError(f"{folder}: holds another run ({', '.join(differing)} differ); {other}, or remove it")


def read_run(folder: Path) -> dict[str, Any] | None:
    """``metrics.json`` of a finished run; None when there is none, or one of another kind."""
    try:
        values = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and values.get("baseline") == KIND else None


def metrics_of(
    result: Result,
    report: Report | None,
    *,
    settings: dict[str, Any],
    instruction: str,
    sha256: str,
    seconds: float,
    cost: float | None,
    cost_of_call: float | None,
) -> dict[str, Any]:
    """What ``metrics.json`` holds; ``f1`` and ``validation`` as other runs have them, None without labels.

    Args:
        result: Of the run.
        report: Strict scores; None without labels.
        settings: What decides the figures.
        instruction: The system message.
        sha256: Of the file of posts.
        seconds: Of this call.
        cost: Of all answers, also those that were there; None without prices.
        cost_of_call: Of this call.
    """
    return {
        "baseline": KIND,
        "f1": None if report is None else report.overall.f1,
        "validation": None if report is None else report.as_dict(),
        "posts": len(result.predictions),
        "seed": settings.get("seed"),
        "seconds": round(seconds, 1),
        "valid_sha256": sha256,
        "package_version": __version__,
        "counts": result.counts.as_dict(),
        "tokens_in": result.used.tokens_in,
        "tokens_out": result.used.tokens_out,
        "cost": cost,
        "this_call": {
            "tokens_in": result.spent.tokens_in,
            "tokens_out": result.spent.tokens_out,
            "cost": cost_of_call,
        },
        "snapshots": result.snapshots,
        "settings": settings,
        "prompt": instruction,
    }


def write_run(folder: Path, result: Result, metrics: dict[str, Any]) -> None:
    """Write the predictions, then the metrics, which make it a finished run.

    Raises:
        InputError: If they cannot be written.
    """
    lines = "".join(json_line(prediction.as_dict()) for prediction in result.predictions)
    try:
        write_whole(folder / PREDICTIONS, lines)
        write_whole(folder / METRICS, json.dumps(metrics, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); the answers are kept") from None
