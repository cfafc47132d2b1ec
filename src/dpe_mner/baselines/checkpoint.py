"""A trained baseline on disk: description, encoder configuration, tokenizer and weights; no pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from dpe_mner.baselines.build import BuiltBaseline, Description, with_encoder, with_words
from dpe_mner.baselines.network import Baseline
from dpe_mner.checkpoints.removed import without_removed
from dpe_mner.checkpoints.saved import refuse_not_finite
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.representations.encoders import encoder_config
from dpe_mner.representations.tokenizer import check_vocabulary, load_tokenizer, refuse_without_vocabulary
from dpe_mner.settings import parse_section

DESCRIPTION, WEIGHTS, ALIGNED = "baseline.json", "model.safetensors", "aligned_words"


def save_description(baseline: BuiltBaseline, folder: Path) -> None:
    """Write everything but weights and threshold, which come with the first epoch."""
    save_threshold(baseline.description, folder, baseline.description.threshold)
    baseline.tokenizer.pretrained.save_pretrained(folder)
    if baseline.encoder_config is not None:
        baseline.encoder_config.save_pretrained(folder)


def save_threshold(description: Description, folder: Path, threshold: float) -> None:
    """Write what a baseline is, with the threshold it predicts with; a reader never meets half a file."""
    chosen = description.model_copy(update={"threshold": threshold})
    write_whole(folder / DESCRIPTION, chosen.model_dump_json(indent=2) + "\n")


def save_weights(model: Baseline, folder: Path, *, half: bool = False) -> None:
    """Write weights; a reader never meets half a file.

    Args:
        model: The model.
        folder: Exists.
        half: Store float16 weights; they are loaded as float32.
    """
    weights = {k: v.to(torch.float16) if half and v.is_floating_point() else v for k, v in model.state_dict().items()}
    part = folder / f"{WEIGHTS}.part"
    save_file({name: value.contiguous() for name, value in weights.items()}, part)
    os.replace(part, folder / WEIGHTS)


def load_weights(model: Baseline, folder: Path) -> None:
    """Read weights.

    Raises:
        InputError: If they are missing, damaged or another model's.
    """
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
        refuse_not_finite(weights, path)
        model.load_state_dict(weights)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (SafetensorError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: damaged, or weights of another model ({reason})") from None


def load_baseline(folder: str | os.PathLike[str]) -> BuiltBaseline:
    """A trained baseline, in evaluation mode.

    Args:
        folder: Output of :func:`~dpe_mner.baselines.train.train_baseline`.

    Raises:
        InputError: If it holds no baseline.
    """
    root = Path(folder)
    description = _read_description(root)
    refuse_without_vocabulary(root)
    tokenizer = load_tokenizer(str(root))
    if description.has_encoder:
        encoder = encoder_config(AutoConfig.from_pretrained(str(root), trust_remote_code=False).to_dict())
        check_vocabulary(tokenizer, root, size=None, rows=getattr(encoder, "vocab_size", None))
        words = _aligned_words(root / WEIGHTS)
        baseline = with_encoder(description, tokenizer, encoder, aligned_words=words)
    else:
        baseline = with_words(description, tokenizer, torch.zeros(len(tokenizer), dtype=torch.bool))
    load_weights(baseline.model, root)
    baseline.model.eval()
    return baseline


def _aligned_words(path: Path) -> torch.Tensor | None:
    """Room for the words that a checkpoint has encoded in its pictures' space; None if it has none."""
    try:
        with safe_open(path, framework="pt") as weights:
            if ALIGNED in weights.keys():  # no mapping
                return torch.zeros(weights.get_slice(ALIGNED).get_shape())
    except (OSError, SafetensorError):
        pass  # told when they are loaded
    return None


def check_same(description: Description, folder: Path) -> None:
    """Refuse to go on with a run of another baseline; the threshold is what the run found out, not what it is.

    Raises:
        InputError: If kind, labels or settings differ from those the run began with.
    """
    began = _read_description(folder)
    for name in Description.model_fields:
        if name != "threshold" and getattr(began, name) != getattr(description, name):
            raise InputError(f"{folder}: holds a run of another baseline ({name} differs); choose another output")


def _read_description(folder: Path) -> Description:
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path}: missing or not JSON; give the output folder of a trained baseline") from None
    values = values if isinstance(values, dict) else {}
    if isinstance(values.get("encoder"), dict):
        values |= without_removed({"encoder": values["encoder"]}, where=str(path), version=None)
    return parse_section(Description, values, where=str(path))
