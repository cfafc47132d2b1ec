"""The folder of one run: finished, interrupted or absent, and whether what lies there is what is planned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from dpe_mner.errors import InputError
from dpe_mner.training.folder import HISTORY, METRICS, RECIPE, read_metrics
from dpe_mner.training.kept_epochs import CHECKPOINTS, last_whole
from dpe_mner.training.recipe import Recipe, load_recipe

State = Literal["finished", "interrupted", "absent"]


def state_of(recipe: Recipe, hashes: dict[str, str], *, baseline: str | None = None) -> State:
    """How far a run is.

    Args:
        recipe: As planned; its output is the folder.
        hashes: SHA-256 of the ``train`` and ``valid`` files.
        baseline: Kind of baseline that is trained instead of DPE-MNER.

    Returns:
        ``finished`` when its figures are there, ``interrupted`` when it has begun.

    Raises:
        InputError: If the folder holds a run of another recipe, or on other data.
    """
    folder = Path(recipe.output)
    found = folder / RECIPE
    if not found.is_file():
        if (folder / METRICS).is_file():
            raise InputError(f"{folder}: has metrics.json but no recipe.yaml, so what was run is unknown; remove it")
        return "absent"
    metrics = read_metrics(folder)
    if metrics is None and not _has_begun(folder):
        return "absent"
    try:
        there = load_recipe(found, written=True)
    except InputError as error:
        raise InputError(f"{error}; it was run by another version: choose another --output") from None
    differing = differences(there, recipe, baseline=baseline)
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            f"{folder}: holds another run ({'; '.join(differing[:3])}{more}); choose another --output, or remove it"
        )
    if metrics is None:
        return "interrupted"
    if metrics.get("baseline") != baseline:
        kinds = [str(kind or "DPE-MNER") for kind in (metrics.get("baseline"), baseline)]
        raise InputError(f"{folder}: holds a run of {kinds[0]}, not of {kinds[1]}; choose another --output")
    for split, sha256 in hashes.items():
        trained = metrics.get(f"{split}_sha256", sha256)
        if trained != sha256:
            raise InputError(
                f"{folder}: was run on another {split} file ({trained[:12]} there, {sha256[:12]} now); "
                "choose another --output"
            )
    return "finished"


def _has_begun(folder: Path) -> bool:
    """Whether there is anything to lose or to go on from."""
    return (folder / HISTORY).exists() or any((folder / CHECKPOINTS).glob("checkpoint-*"))


def check_vectors(folder: Path, glove: Path | None) -> None:
    """Refuse a finished BiLSTM-CRF that started from other word vectors than planned.

    Raises:
        InputError: If one started from random vectors and the other does not.
    """
    there = ((read_metrics(folder) or {}).get("settings") or {}).get("bilstm", {}).get("glove")
    if bool(there) != bool(glove):
        told = "random word vectors" if not there else "those of a file"
        raise InputError(f"{folder}: was run with {told}; give the same --glove, or choose another --output")


def differences(found: Recipe, planned: Recipe, *, baseline: str | None = None) -> list[str]:
    """Keys that make two runs different, e.g. ``training.epochs 4 there, 8 planned``. Names and paths do not.

    Args:
        found: Recipe of a run that is there; what its version did not know has its default.
        planned: Recipe of a run to be made.
        baseline: The system they train instead of DPE-MNER: of the settings it reads the encoder's and the pictures'.
    """
    old, new = _comparable(found, baseline=baseline), _comparable(planned, baseline=baseline)
    return [
        f"{key} {json.dumps(old.get(key))} there, {json.dumps(new.get(key))} planned"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def same_run(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes give the same result."""
    return not differences(one, other)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _comparable(recipe: Recipe, *, baseline: str | None) -> dict[str, Any]:
    values = recipe.model_dump()
    for key in ("name", "output"):
        del values[key]
    del values["data"]["folder"]
    for key in ("images", "features"):
        values["data"][key] = values["data"][key] is not None
    pictures = values["settings"]["pictures"]
    # What a run found out about its pictures is in the recipe it writes.
    for part, width in (("grid", "coarse_image_size"), ("regions", "fine_image_size")):
        if pictures[part] is not None:
            del values["settings"]["fusion"][width]
    if baseline is not None:
        from dpe_mner.baselines.systems import SYSTEMS

        encoder, reads = values["settings"]["encoder"], SYSTEMS[baseline].reads
        if not {"y_ct", "y_ft"} & set(reads):
            encoder = {k: v for k, v in encoder.items() if not k.startswith("caption_")}
        values["settings"] = {"encoder": encoder} | ({"pictures": pictures} if reads else {})
    flat = flatten(values)
    return {key: value for key, value in flat.items() if not key.endswith(".fingerprint")}


def prepare_to_resume(folder: Path) -> bool:
    """Whether an interrupted run can go on; one that cannot is made fit to begin anew.

    Returns:
        Whether an epoch was finished to go on from; otherwise the run must begin anew, and can.
    """
    whole = last_whole(folder, log=lambda line: None) is not None
    if not whole:
        (folder / HISTORY).unlink(missing_ok=True)
        for part in ("best", CHECKPOINTS):
            shutil.rmtree(folder / part, ignore_errors=True)
    return whole
