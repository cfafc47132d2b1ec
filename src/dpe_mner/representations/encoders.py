"""Text encoders: transformers' classes for training and for any family; for a quick start, BERT without them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from dpe_mner.errors import InputError
from dpe_mner.representations.bert import BertEncoder, BertSizes

_NAMES_OF_CODE = frozenset(  # of classes, and of kernels for attention and experts; the machine chooses its own
    f"{head}{name}{tail}"
    for name in ("attn_implementation", "experts_implementation")
    for head, tail in (("", ""), ("_", ""), ("_", "_internal"))
) | {"auto_map", "custom_pipelines"}

if TYPE_CHECKING:  # imported where it is used: it takes seconds
    from transformers import PretrainedConfig


def encoder_config(encoder: Mapping[str, Any]) -> PretrainedConfig:
    """Transformers' configuration object from its own ``to_dict``.

    Raises:
        InputError: If it does not say which family it belongs to.
    """
    from transformers import AutoConfig

    values = _without_code(encoder)
    kind = values.pop("model_type", None)
    if not isinstance(kind, str):
        raise InputError("config.json: encoder has no model_type; it must be the encoder's own config.json")
    return AutoConfig.for_model(kind, **values)


def _without_code(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the keys by which transformers finds code to fetch and run, in its parts too."""
    kept = {key: value for key, value in values.items() if key not in _NAMES_OF_CODE}
    return {key: _without_code(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def new_encoder(config: PretrainedConfig) -> nn.Module:
    """Transformers' model with fresh weights, without the pooler that nothing reads."""
    from transformers import AutoModel

    encoder: Any = AutoModel.from_config(config)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return cast(nn.Module, encoder)


def quick_encoder(encoder: Mapping[str, Any]) -> BertEncoder | None:
    """The same encoder without transformers, or None if its family needs transformers."""
    sizes = BertSizes.of(encoder)
    return None if sizes is None else BertEncoder(sizes)


def transformers_encoder(encoder: nn.Module, config: PretrainedConfig) -> nn.Module:
    """An encoder of transformers' with the weights, the device and the mode of another one."""
    made = new_encoder(config)
    made.load_state_dict(encoder.state_dict())
    like = next(encoder.parameters())
    return made.to(like.device, like.dtype).train(encoder.training)


def load_pretrained(name: str) -> tuple[PretrainedConfig, nn.Module]:
    """Configuration and float32 weights of a pretrained encoder.

    Args:
        name: Hub id or folder of an encoder, or the folder of a checkpoint of this project, whose encoder is taken.

    Raises:
        InputError: If it cannot be loaded.
    """
    from transformers import AutoConfig, AutoModel

    values = own_config(Path(name))
    if values is not None:
        return _encoder_of_checkpoint(Path(name), values)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False), AutoModel.from_pretrained(
            name, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"encoder {name!r}: cannot be loaded ({reason}); give a hub id or a folder") from None


_PREFIX = "text_encoder.encoder."  # of its weights in a checkpoint of this project


def own_config(folder: Path) -> dict[str, Any] | None:
    """``config.json`` of a model trained by this project; None of any other folder."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and values.get("model_type") == "dpe-mner" else None


def _encoder_of_checkpoint(folder: Path, values: Mapping[str, Any]) -> tuple[PretrainedConfig, nn.Module]:
    from safetensors import SafetensorError, safe_open

    path = folder / "model.safetensors"
    config = encoder_config(values.get("encoder") or {})
    encoder = new_encoder(config)
    try:
        with safe_open(path, "pt") as stored:
            names = [name for name in stored.keys() if name.startswith(_PREFIX)]
            weights = {name.removeprefix(_PREFIX): stored.get_tensor(name).float() for name in names}
        encoder.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"encoder {str(folder)!r}: cannot be loaded from {path.name} ({reason[:200]})") from None
    return config, encoder
