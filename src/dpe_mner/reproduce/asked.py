"""Rows of language models: shown with figures where ``dpe-mner baseline llm`` left a finished run for them.

Nothing is asked from here, as it may cost money: the run's folder is ``<experiment folder>/<row id>/seed0``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.errors import InputError
from dpe_mner.llm.folder import METRICS, read_run
from dpe_mner.reproduce.tables import Row, Table

SEED = 0  # a model behind an endpoint has no training seed; the name is that of any run


def asked_rows(tables: Iterable[Table], folder: Path) -> Iterator[tuple[Row, Path]]:
    """Rows of language models whose run is there, with its folder.

    Args:
        tables: To be made.
        folder: Of the experiment.
    """
    for row in {row.id: row for table in tables for row in table.rows if row.asked}.values():
        place = folder / row.id / f"seed{SEED}"
        if (place / METRICS).is_file():
            yield row, place


def read_asked(folder: Path, *, valid_sha256: str) -> dict[str, Any]:
    """The metrics of a finished run.

    Args:
        folder: Of the run.
        valid_sha256: Of the validation file.

    Raises:
        InputError: If it is of another kind or about another file.
    """
    metrics = read_run(folder)
    if metrics is None:
        raise InputError(f"{folder}: its {METRICS} is not of dpe-mner baseline llm; remove the folder")
    there = str(metrics.get("valid_sha256"))
    if there != valid_sha256 or not isinstance(metrics.get("f1"), float):
        raise InputError(
            f"{folder}: is not about the validation file ({there[:12]} there, {valid_sha256[:12]} here); "
            "run dpe-mner baseline llm on it"
        )
    return metrics


def told_of(row: Row, folder: Path) -> str:
    """What a reader must know of a row's figures, in two sentences."""
    metrics = read_run(folder) or {}
    settings, counts = metrics.get("settings") or {}, metrics.get("counts") or {}
    snapshots = ", ".join(name for name in metrics.get("snapshots") or {} if name != settings.get("model"))
    shots = settings.get("shots")
    examples = f"{shots} {'nearest ' if settings.get('retrieve') else ''}examples" if shots else "no examples"
    lost = [f"{counts.get(key, 0)} {what}" for key, what in _LOST.items() if counts.get(key)]
    return (
        f"{row.label}: {settings.get('model')}{f' ({snapshots})' if snapshots else ''} at {settings.get('endpoint')}, "
        f"{examples}, picture: {settings.get('picture')}, of {counts.get('answers')} answers "
        f"{', '.join(lost) or 'all could be read'}. Prompt, snapshot and reading of answers behind the paper's figure "
        "are not known."
    )


_LOST = {
    "unparsable": "unreadable",
    "refused": "posts refused",
    "entities_not_in_text": "listed entities not in the text",
    "entities_without_place": "listed entities without a place",
    "unknown_labels": "of unknown types",
}
