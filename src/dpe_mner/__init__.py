"""DPE-MNER: named entities in posts that come with a picture.

>>> import dpe_mner
>>> model = dpe_mner.load()
>>> model.predict("Kevin Durant enters Oracle Arena")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpe_mner.api import evaluate, load, train
from dpe_mner.errors import InputError
from dpe_mner.types import Entity, Grounding, LabelledSpan, Post, Prediction, ReasoningStep, StartSpan
from dpe_mner.version import __version__

if TYPE_CHECKING:
    from dpe_mner.checkpoints.config import DPEMNERConfig
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.onnx.runtime import OnnxModel
    from dpe_mner.settings import Settings

__all__ = [
    "DPEMNERConfig",
    "DPEMNERModel",
    "Entity",
    "Grounding",
    "InputError",
    "LabelledSpan",
    "OnnxModel",
    "Post",
    "Prediction",
    "ReasoningStep",
    "Settings",
    "StartSpan",
    "__version__",
    "evaluate",
    "load",
    "train",
]

# Everything that needs PyTorch is imported when it is first asked for: the command line must answer at once.
_LAZY = {
    "DPEMNERConfig": "dpe_mner.checkpoints.config",
    "DPEMNERModel": "dpe_mner.model",
    "OnnxModel": "dpe_mner.onnx.runtime",
    "Settings": "dpe_mner.settings",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'dpe_mner' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
