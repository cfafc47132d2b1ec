"""A model that is saved as, and loaded from, a Hugging Face folder."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dpe_mner.checkpoints.config import CONFIG, DPEMNERConfig
from dpe_mner.checkpoints.hub import checkpoint_folder, upload
from dpe_mner.checkpoints.whole import read_json, replaced_together
from dpe_mner.data.inside import is_plain_name
from dpe_mner.errors import InputError
from dpe_mner.representations.encoders import quick_encoder
from dpe_mner.representations.tokenizer import check_vocabulary, checkpoint_tokenizer, vocabulary_size
from dpe_mner.representations.windows import WindowTokenizer

_DRAWING = frozenset({Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_})
WEIGHTS, INDEX, CARD = "model.safetensors", "model.safetensors.index.json", "README.md"


class SavedModel(nn.Module):
    """Loading, saving and sharing, as users of transformers know them, without importing it.

    Args:
        config: Encoder, settings and labels.
        encoder: The text encoder; transformers' with fresh weights when not given.
    """

    def __init__(self, config: DPEMNERConfig, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer: WindowTokenizer | None = None
        self.model_card: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return next(self.parameters()).dtype

    def attach_tokenizer(self, tokenizer: Any) -> None:
        """Give the model the tokenizer it predicts with and is saved with."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32, **where: Any) -> Self:
        """Load a checkpoint with its tokenizer, in evaluation mode, on the CPU.

        Args:
            name: Folder or hub id.
            dtype: Of the weights.
            where: ``revision``, ``token``, ``cache_dir``, ``local_files_only`` for the hub.

        Raises:
            InputError: If anything is missing, damaged or unexpected.
        """
        folder = checkpoint_folder(name, **where)
        config = DPEMNERConfig.from_pretrained(folder)
        tokenizer = checkpoint_tokenizer(folder)
        check_vocabulary(tokenizer, folder, size=config.vocabulary_size, rows=config.encoder.get("vocab_size"))
        weights = read_weights(folder)
        try:
            with torch.random.fork_rng(devices=[]), WithoutDrawing():
                model = cls(config, quick_encoder(config.encoder))
        except InputError:
            raise
        except Exception as error:  # what a configuration can have wrong is without end
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{folder / CONFIG}: describes no model ({reason[:200]})") from None
        _refuse_others(weights, model.state_dict(), folder)
        # Copies: a mapped file must not change below a model that is saved to where it came from.
        values = {k: v.to(dtype if v.is_floating_point() else v.dtype, copy=True) for k, v in weights.items()}
        model.load_state_dict(values, assign=True)
        model.attach_tokenizer(tokenizer)
        card = folder / CARD
        model.model_card = card.read_text(encoding="utf-8") if card.is_file() else None
        return model.eval()

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        state_dict: Mapping[str, Tensor] | None = None,
        max_shard_size: int | str = "5GB",
    ) -> None:
        """Write config, weights (safetensors), tokenizer, and the model card the model was loaded with.

        A folder that is there already keeps its checkpoint until the new one is written whole.

        Args:
            folder: Created if needed.
            state_dict: Weights to write instead of the model's own.
            max_shard_size: Larger weights are spread over several files.

        Raises:
            InputError: If the folder cannot be written, or the weights cannot be loaded again: int8 ones, or NaN.
        """
        from huggingface_hub import save_torch_state_dict

        weights = dict(self.state_dict() if state_dict is None else state_dict)
        _refuse_unusable(weights, folder)
        config, stale = self.config, [WEIGHTS, INDEX, "model-*-of-*.safetensors"]
        if self.tokenizer is not None:
            config = replace(config, vocabulary_size=vocabulary_size(self.tokenizer.pretrained))
            stale += ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt"]
        with replaced_together(Path(folder), last=CONFIG, stale=stale) as part:
            save_torch_state_dict(weights, part, max_shard_size=max_shard_size)
            if self.tokenizer is not None:
                self.tokenizer.pretrained.save_pretrained(part)
            if self.model_card is not None:
                (part / CARD).write_text(self.model_card, encoding="utf-8")
            config.save_pretrained(part)

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | bool | None = None, **commit: Any
    ) -> Any:
        """Save to a repository on the hub.

        Args:
            repo_id: ``owner/name``; made if there is none.
            private: Of a new repository.
            token: Of the hub; the one logged in with when not given.
            commit: ``commit_message``, ``revision``, ``create_pr``, ...

        Returns:
            What the hub says of the commit.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload(Path(folder), repo_id, private=private, token=token, **commit)


class WithoutDrawing(TorchFunctionMode):
    """Leaves new weights as they lie in memory: a checkpoint's replace every one of them.

    (PyTorch's meta device, made for this, imports its compiler first.)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call everything but what fills a tensor with random numbers."""
        values = kwargs or {}
        return (args or (values["tensor"],))[0] if func in _DRAWING else func(*args, **values)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint, from one file or several.

    Raises:
        InputError: If there are none, or a file is damaged.
    """
    index = folder / INDEX
    names = [WEIGHTS]
    if index.is_file() and not (folder / WEIGHTS).is_file():
        placed = read_json(index).get("weight_map")
        if not isinstance(placed, dict) or not all(isinstance(x, str) and is_plain_name(x) for x in placed.values()):
            raise InputError(f"{index}: has no weight_map of weights to files beside it; fetch or copy the folder anew")
        names = sorted(set(placed.values()))
    weights: dict[str, Tensor] = {}
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}")
        try:
            weights |= load_file(folder / name)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{folder / name}: truncated or not a weights file ({error})") from None
    refuse_not_finite(weights, folder)
    return weights


def refuse_not_finite(weights: Mapping[str, Tensor], where: str | os.PathLike[str]) -> None:
    """Refuse weights that hold NaN or infinity, or nothing but zeros.

    Args:
        weights: By name.
        where: Named in the error.

    Raises:
        InputError: Naming the first of them.
    """
    some = False
    for name, weight in weights.items():
        if not weight.is_floating_point() or not weight.numel():
            continue
        low, high = (float(end) for end in weight.detach().aminmax())  # NaN if there is one anywhere
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(f"{os.fspath(where)}: {name} holds values that are no numbers (NaN or infinite)")
        some = some or low != 0 or high != 0
    if weights and not some:
        raise InputError(f"{os.fspath(where)}: all weights are zero; the file is damaged")


def _refuse_unusable(weights: Mapping[str, Any], folder: str | os.PathLike[str]) -> None:
    if any(not isinstance(weight, Tensor) or weight.is_quantized for weight in weights.values()):
        raise InputError(
            f"{os.fspath(folder)}: not saved; an int8 model cannot be: save it as it was loaded, without int8"
        )
    refuse_not_finite(weights, f"{os.fspath(folder)}: not saved")


def _refuse_others(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], folder: Path) -> None:
    kinds = {
        "missing": sorted(expected.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - expected.keys()),
        "mismatched": sorted(
            k
            for k in expected.keys() & weights.keys()
            if expected[k].shape != weights[k].shape
            or expected[k].is_floating_point() != weights[k].is_floating_point()
        ),
    }
    for kind, names in kinds.items():
        if names:
            raise InputError(
                f"{folder}: {len(names)} {kind} weights, e.g. {names[0]}; "
                "the file belongs to another model or is damaged"
            )
