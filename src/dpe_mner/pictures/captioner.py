"""y_ct: captions by a transformers captioner (BLIP and its family, or any image-text-to-text model)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from dpe_mner.pictures.weights import fingerprint, load_part, quiet_transformers
from dpe_mner.settings import CaptionSettings

if TYPE_CHECKING:
    from PIL.Image import Image


class Captioner:
    """Batched captions.

    Args:
        settings: Model, length, beams, prompt.
        device: Where it computes.

    Raises:
        ProviderError: If it cannot be loaded.
    """

    def __init__(self, settings: CaptionSettings, *, device: str = "cpu") -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.settings = settings
        self.device = device
        name = settings.model
        self.processor: Any = load_part(
            "captioner", name, lambda: AutoProcessor.from_pretrained(name, trust_remote_code=False)
        )
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
        model = load_part(
            "captioner",
            name,
            lambda: AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=False, dtype=dtype),
        )
        self.model: Any = model.to(device).eval()

    @cached_property
    def fingerprint(self) -> str:
        """Of weights and preprocessing."""
        return fingerprint(self.settings.model, commit=getattr(self.model.config, "_commit_hash", None))

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image]) -> list[str]:
        """One line a picture."""
        if not images:
            return []
        with quiet_transformers():
            inputs = self._inputs(images).to(self.device)
            if inputs["pixel_values"].dtype != self.model.dtype:
                inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
            made = self.model.generate(
                **inputs, max_new_tokens=self.settings.tokens, num_beams=self.settings.beams, do_sample=False
            )
        prompt = inputs.get("input_ids")
        if (
            prompt is not None
            and made.shape[1] >= prompt.shape[1]
            and bool((made[:, : prompt.shape[1]] == prompt).all())
        ):
            made = made[:, prompt.shape[1] :]  # decoder-only models repeat what they were asked
        texts = self.processor.batch_decode(made, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _inputs(self, images: Sequence[Image]) -> Any:
        prompt = self.settings.prompt
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": prompt or "Describe the picture in one sentence."}]
            asked = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            return self.processor(images=list(images), text=[asked] * len(images), padding=True, return_tensors="pt")
        if prompt is None:
            return self.processor(images=list(images), return_tensors="pt")
        return self.processor(images=list(images), text=[prompt] * len(images), padding=True, return_tensors="pt")
