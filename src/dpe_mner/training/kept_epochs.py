"""Checkpoints of a run's last epochs, sealed when whole: none that was cut off or damaged is gone on from."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from dpe_mner.checkpoints.whole import file_hashes
from dpe_mner.data.writing import write_whole
from dpe_mner.training.sources import Log

CHECKPOINTS, SEAL = "checkpoints", "seal.json"
_KEPT = 2  # of a run: should the disk damage the newest, the one before it is there


def seal(checkpoint: Path) -> None:
    """Say that a checkpoint is whole: its files are on the disk, with these hashes.

    Raises:
        OSError: If the disk is full.
    """
    names = sorted(path.name for path in checkpoint.iterdir() if path.is_file() and path.name != SEAL)
    for name in names:
        with (checkpoint / name).open("rb") as stream:
            os.fsync(stream.fileno())
    write_whole(checkpoint / SEAL, json.dumps(file_hashes(checkpoint, names), indent=1) + "\n")


def drop_older(run: Path) -> None:
    """Remove all but the newest sealed checkpoints of a run; ordered by step, for clocks jump."""
    for checkpoint in _by_step(run)[_KEPT:]:
        shutil.rmtree(checkpoint, ignore_errors=True)


def last_whole(run: Path, *, log: Log) -> Path | None:
    """The newest checkpoint that is whole; None when there is none.

    Args:
        run: Output of the run.
        log: Receives a line for each newer one that cannot be used.
    """
    for checkpoint in _by_step(run):
        fault = _fault(checkpoint)
        if fault is None:
            return checkpoint
        log(f"warning: {checkpoint}: {fault}; going on from the one before it")
    return None


def _by_step(run: Path) -> list[Path]:
    """Newest first."""
    found = [path for path in (run / CHECKPOINTS).glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    return sorted(found, key=lambda path: -int(path.name.rpartition("-")[2]))


def _fault(checkpoint: Path) -> str | None:
    """What keeps a checkpoint from being gone on from."""
    try:
        hashes = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "was not written to its end"
    except (OSError, ValueError):
        return f"its {SEAL} cannot be read"
    if not isinstance(hashes, dict) or not hashes:
        return f"its {SEAL} is not one"
    found = file_hashes(checkpoint, hashes)
    for name, expected in hashes.items():
        if found.get(name) != expected:
            return f"{name} is missing" if name not in found else f"{name} is damaged"
    return None
