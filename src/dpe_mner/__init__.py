"""DPE-MNER: named entities in posts that come with a picture.

>>> import dpe_mner
>>> model = dpe_mner.load()
>>> model.predict("Kevin Durant enters Oracle Arena")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dpe_mner.errors import InputError
from dpe_mner.types import Entity, Grounding, LabelledSpan, Post, Prediction, ReasoningStep
from dpe_mner.version import __version__

if TYPE_CHECKING:
    from dpe_mner.config import DPEMNERConfig
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.settings import Settings

__all__ = [
    "DPEMNERConfig",
    "DPEMNERModel",
    "Entity",
    "Grounding",
    "InputError",
    "LabelledSpan",
    "Post",
    "Prediction",
    "ReasoningStep",
    "Settings",
    "__version__",
    "load",
]

# Everything that needs PyTorch is imported when it is first asked for: the command line must answer at once.
_LAZY = {
    "DPEMNERConfig": "dpe_mner.config",
    "DPEMNERModel": "dpe_mner.model",
    "Settings": "dpe_mner.settings",
}


def load(
    name: str | None = None,
    *,
    device: str | None = None,
    picture_models: Mapping[str, str] | None = None,
    int8: bool = False,
    dtype: str = "float32",
) -> DPEMNERModel:
    """Load a model ready to predict.

    Args:
        name: Folder or hub id; the bundled model when not given.
        device: ``cpu`` (default), ``cuda``, ...
        picture_models: Where the models lie that read pictures, by kind, e.g. ``{"grid": "folder"}``; the names the
            checkpoint remembers when not given. More choices: :meth:`DPEMNERModel.use_pictures`.
        int8: Quantise the text encoder, on a CPU: faster, for some F1, and a post's answer may then differ with its
            company in a batch.
        dtype: ``float32``, or ``bfloat16`` or ``float16`` to compute in half precision: faster on a GPU, and scores
            differ in the third digit.

    Returns:
        The model with its tokenizer, in evaluation mode.

    Raises:
        InputError: If the checkpoint is missing, foreign or damaged.
    """
    from dpe_mner.checkpoint import load_checkpoint

    model = load_checkpoint(name, device=device, dtype=dtype)
    if int8:
        from dpe_mner.quantize import quantize_int8

        quantize_int8(model)
    if picture_models:
        model.use_pictures(models=picture_models)
    return model


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'dpe_mner' has no attribute {name!r}")
