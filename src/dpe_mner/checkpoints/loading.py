"""Checkpoints on disk: a Hugging Face folder, refused when anything in it is missing, foreign or unexpected."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from dpe_mner.checkpoints.hub import bundled_folder
from dpe_mner.checkpoints.saved import SavedModel
from dpe_mner.errors import InputError, nearest

M = TypeVar("M", bound=SavedModel)

DTYPES = ("float32", "bfloat16", "float16")


def load_checkpoint(kind: type[M], name: str | None, *, device: str | None = None, dtype: str = "float32") -> M:
    """Load a model with its tokenizer, in evaluation mode.

    Args:
        kind: The model's class.
        name: Folder or hub id; None is the bundled model.
        device: ``cpu``, ``cuda``, ... ; the CPU when not given.
        dtype: One of :data:`DTYPES`.

    Raises:
        InputError: If it is missing, foreign, truncated, or its weights do not fit.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r}: not supported{nearest(dtype, DTYPES)}; known: {', '.join(DTYPES)}")
    folder = str(bundled_folder()) if name is None else name
    try:
        model = kind.from_pretrained(folder)
    except InputError:
        raise
    except Exception as error:  # damaged files and foreign configurations fail in as many ways as there are
        raise InputError(f"{folder}: cannot be loaded ({_first_line(error)})") from None
    try:
        return model.to(device or "cpu", getattr(torch, dtype)).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r}: not usable here ({_first_line(error)})") from None


def save_checkpoint(model: SavedModel, folder: str | Path, *, half: bool = False) -> None:
    """Write config, weights and tokenizer.

    Args:
        model: With its tokenizer attached.
        folder: Created if needed.
        half: Store float16 weights; they are loaded as float32.
    """
    weights = {k: _half(v) if half and v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=weights)


def _half(weight: Tensor) -> Tensor:
    """In float16, unless it holds numbers too large for that."""
    halved = weight.to(torch.float16)
    return halved if bool(torch.isfinite(halved).all()) else weight


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
