"""Patches of a picture and words in one space: models with a picture tower and a text tower, CLIP and SigLIP.

Such a model compares one vector of a whole picture with one of a text. A patch takes the way that the model's own
picture vector takes from the last layer on. It was trained for the whole picture, not for a patch: a patch's cosine
with a word is informative, but less sharp than the picture's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpe_mner.pictures.kinds import Half
from dpe_mner.pictures.weights import ProviderError, load_part, quiet_transformers

_TOGETHER = 64  # words


def into_text_space(vision: Any, projection: Any, states: Tensor) -> Tensor | None:
    """Bring states of patches to the space of the text tower.

    CLIP norms its class token and projects it; so are the patches. SigLIP has no class token and no projection: one
    learned query attends to all patches, and a small network follows. A patch is taken as if it were all there is to
    attend to, so that its value goes through that network.

    Args:
        vision: The picture tower.
        projection: What follows it, or None.
        states: As the tower gives them. *Shape:* (n, G, channels)

    Returns:
        None if the tower is of neither kind. *Shape:* (n, G, projection dim)
    """
    if projection is not None and hasattr(vision, "post_layernorm"):
        projected: Tensor = projection(vision.post_layernorm(states))
        return projected
    if _pools_by_attention(vision):
        pooled: Tensor = vision.head(states.flatten(0, 1)[:, None])
        return pooled.unflatten(0, states.shape[:2])
    return None


def _pools_by_attention(vision: Any) -> bool:
    return hasattr(getattr(vision, "head", None), "probe")


class TextTower:
    """The text tower of a model whose picture tower is a :class:`~dpe_mner.pictures.backbone.Backbone`.

    Args:
        name: Hub id or folder.
        device: Where it computes.

    Raises:
        ProviderError: If it cannot be loaded, or the model has none.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        model: Any = load_part(
            "text tower", name, lambda: AutoModel.from_pretrained(name, trust_remote_code=False, dtype=torch.float32)
        )
        if not hasattr(model, "get_text_features"):
            raise ProviderError(no_text_tower(name, model))
        self.tokenizer: Any = load_part(
            "text tower", name, lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        )
        known, read = len(self.tokenizer), int(model.config.text_config.vocab_size)
        if 2 * known < read:  # transformers makes up an empty tokenizer where there is none
            raise ProviderError(
                f"text tower {name!r}: its tokenizer knows {known} pieces of {read}; put the model's tokenizer files "
                "beside its weights"
            )
        # SigLIP learned without a mask: padding is a part of what it reads.
        self.masked = not _pools_by_attention(model.vision_model)
        del model.vision_model
        self.model = model.to(device).eval()
        self.device = device
        positions = int(model.config.text_config.max_position_embeddings)
        self.length = min(positions, int(self.tokenizer.model_max_length))  # huge where the tokenizer knows none

    @torch.inference_mode()
    def __call__(self, words: Sequence[str]) -> Half:
        """Each word or phrase as one vector, not normed, in half precision. *Shape:* (words, projection dim).

        All are padded to the longest text the model reads, so that a vector does not depend on the others.
        """
        found = [self._encode(words[k : k + _TOGETHER]) for k in range(0, len(words), _TOGETHER)]
        if not found:
            return np.zeros((0, self._encode(["x"]).shape[1]), dtype=np.float16)
        return np.concatenate(found)

    def _encode(self, words: Sequence[str]) -> Half:
        with quiet_transformers():
            pieces = self.tokenizer(
                list(words), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
            )
        names = ("input_ids", "attention_mask") if self.masked else ("input_ids",)
        given = {name: pieces[name].to(self.device) for name in names if name in pieces}
        features = self.model.get_text_features(**given)
        features = features if isinstance(features, Tensor) else features.pooler_output
        values: Half = features.float().cpu().numpy().clip(-65504, 65504).astype(np.float16)
        return values


def no_text_tower(name: str, model: Any) -> str:
    """One line for a model that knows no words."""
    return (
        f"image backbone {name!r}: has no text tower (a {type(model).__name__}); take a CLIP or SigLIP model, or leave "
        "'aligned' out"
    )
