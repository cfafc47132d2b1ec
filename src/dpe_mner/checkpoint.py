"""Checkpoints on disk: a Hugging Face folder, refused when anything in it is missing, foreign or unexpected."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch

from dpe_mner.errors import InputError, nearest
from dpe_mner.model import DPEMNERModel

BUNDLED = "assets/bundled"
DTYPES = ("float32", "bfloat16", "float16")


def bundled_folder() -> Path:
    """Folder of the model that comes with the package.

    Raises:
        InputError: If this installation has none.
    """
    folder = Path(str(resources.files("dpe_mner"))) / BUNDLED
    if not (folder / "model.safetensors").is_file():
        raise InputError("this installation has no bundled model; name one with --model FOLDER")
    return folder


def load_checkpoint(name: str | None, *, device: str | None = None, dtype: str = "float32") -> DPEMNERModel:
    """Load a model with its tokenizer, in evaluation mode.

    Args:
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
        model = DPEMNERModel.from_pretrained(folder)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{folder}: cannot be loaded ({_first_line(error)})") from None
    try:
        return model.to(device or "cpu", getattr(torch, dtype)).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r}: not usable here ({_first_line(error)})") from None


def save_checkpoint(model: DPEMNERModel, folder: str | Path, *, half: bool = False) -> None:
    """Write config, weights and tokenizer.

    Args:
        model: With its tokenizer attached.
        folder: Created if needed.
        half: Store float16 weights; they are loaded as float32.
    """
    weights = {k: v.to(torch.float16) if half and v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=weights)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def check_labels(labels: Sequence[str], model: DPEMNERModel, *, where: str) -> None:
    """Refuse data with labels the model does not know.

    Raises:
        InputError: Naming them and what the model knows.
    """
    check_known_labels(labels, model.config.label_names, where=where)


def check_known_labels(labels: Sequence[str], known: Sequence[str], *, where: str) -> None:
    """Refuse labels outside a model's.

    Raises:
        InputError: Naming them and what the model knows.
    """
    unknown = sorted(set(labels) - set(known))
    if unknown:
        raise InputError(
            f"{where}: labels {', '.join(unknown)} are unknown to the model (it knows {', '.join(known)}); "
            "map them with --label-map OLD=NEW"
        )
