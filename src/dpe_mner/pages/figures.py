"""Figures without a window: matplotlib is optional, and a picture that cannot be written is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpe_mner.data.writing import replacing
from dpe_mner.errors import InputError


def require_matplotlib() -> Any:
    """Its ``Figure`` class, which needs no display.

    Raises:
        InputError: With the install command.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib; pip install 'dpe-mner[train]'") from None
    return Figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format its file's ending names.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        with replacing(path) as part:
            figure.savefig(part, dpi=150)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
