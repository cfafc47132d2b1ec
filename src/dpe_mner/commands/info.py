"""``dpe-mner info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dpe_mner.api import BASELINE
from dpe_mner.commands.options import Model


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("info")(info)


def info(
    model: Model = None,
    json_: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """What a checkpoint is: labels, conventions, encoder, settings, scores, versions.

    Example: dpe-mner info --model runs/mine
    """
    from dpe_mner.api import BASELINE
    from dpe_mner.checkpoints.config import DPEMNERConfig
    from dpe_mner.checkpoints.hub import bundled_folder, checkpoint_folder

    folder = bundled_folder() if model is None else checkpoint_folder(model)
    if (folder / BASELINE).is_file():
        found = described_baseline(folder)
    else:
        found = described(DPEMNERConfig.from_pretrained(folder).to_dict(), _metrics(folder), folder)
    if json_:
        typer.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if name != "settings":
            typer.echo(f"{name:<14}{_shown(value)}")
    typer.echo("\nEvery setting: dpe-mner info --json")


def described(config: dict[str, Any], metrics: dict[str, Any] | None, folder: Path) -> dict[str, Any]:
    """What is told of a checkpoint.

    Args:
        config: Content of ``config.json``.
        metrics: Content of ``metrics.json``, where it is there.
        folder: Of the checkpoint.
    """
    encoder = config["encoder"]
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    found: dict[str, Any] = {
        "model": str(folder),
        "labels": config["labels"],
        "conventions": config["conventions"],
        "encoder": {key: encoder.get(key) for key in ("model_type", "num_hidden_layers", "hidden_size", "vocab_size")},
        "steps": config["settings"]["reasoning"]["steps"],
        "threshold": config["settings"]["decision"]["threshold"],
        "weights_mb": round(weights / 1e6, 1),
        "written_by": f"dpe-mner {config['package_version']}",
    }
    if metrics is not None:
        found["scores"] = _scores(metrics)
    return found | {"settings": config["settings"]}


def described_baseline(folder: Path) -> dict[str, Any]:
    """What is told of a system of Table 1."""
    values = json.loads((folder / BASELINE).read_text(encoding="utf-8"))
    metrics = _metrics(folder)
    found = {
        "model": str(folder),
        "system": values.get("kind"),
        "labels": values.get("labels"),
        "threshold": values.get("threshold"),
        "weights_mb": round(sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6, 1),
    }
    if metrics is not None:
        found["written_by"] = f"dpe-mner {metrics.get('package_version')}"
        found["reads"] = ", ".join(["text", *metrics.get("representations", ())])
        found["scores"] = _scores(metrics)
    return found | {"settings": values.get("settings", {})}


def _metrics(folder: Path) -> dict[str, Any] | None:
    """``metrics.json`` where it is there and whole."""
    try:
        values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and "f1" in values else None


def _scores(metrics: dict[str, Any]) -> dict[str, float]:
    """Validation F1, of each source where there are several."""
    each = {source["name"]: round(source["validation"]["f1"], 2) for source in metrics.get("sources", ())}
    return each or {"validation": round(metrics["f1"], 2)}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(
            each["name"] + (f" (without {', '.join(each['unannotated'])})" if each["unannotated"] else "")
            for each in value
        )
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none: trained on one corpus"
    return str(value)
