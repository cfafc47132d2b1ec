"""y_c and the features of y_f: the spatial map of any transformers image backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dpe_mner.pictures.aligned import TextTower, into_text_space, no_text_tower
from dpe_mner.pictures.kinds import Half
from dpe_mner.pictures.weights import ProviderError, fingerprint, load_part, quiet_transformers

if TYPE_CHECKING:
    from PIL.Image import Image


STAGES = 4  # of a convolutional backbone's resolutions, the last ones
_STAGE_BLOCKS = 2  # a side, where no other number is given


class Backbone:
    """Pictures to maps of blocks.

    Convolutional backbones (ResNet, MobileNet, ConvNeXt) give their last map; transformers (ViT, CLIP, SigLIP) their
    patch grid without class and register tokens. The backbone's own preprocessing is used.

    Args:
        name: Hub id or folder.
        device: Where it computes.

    Raises:
        ProviderError: If it cannot be loaded or gives no map.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from transformers import AutoImageProcessor, AutoModel

        self.name = name
        self.device = device
        processor = load_part(
            "image backbone", name, lambda: AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        )
        model = load_part(
            "image backbone",
            name,
            lambda: AutoModel.from_pretrained(name, trust_remote_code=False, dtype=torch.float32),
        )
        self.processor: Any = processor
        # CLIP and SigLIP come with a text tower, which few need: it is loaded again where words are encoded.
        self.model: Any = getattr(model, "vision_model", model).to(device).eval()
        projection = getattr(model, "visual_projection", None)
        self._projection: Any = None if projection is None else projection.to(device).eval()
        self._has_text_tower = hasattr(model, "get_text_features")

    @cached_property
    def fingerprint(self) -> str:
        """Of weights and preprocessing."""
        return fingerprint(self.name, commit=getattr(self.model.config, "_commit_hash", None))

    @cached_property
    def channels(self) -> int:
        """Channels of the map."""
        return int(self.maps([_blank()])[0].shape[-1])

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Preprocessed pictures. *Shape:* (n, 3, H, W)."""
        with quiet_transformers():
            values: Tensor = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        return values

    @cached_property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of each stage, finest first.

        Raises:
            ProviderError: If the model has no stages.
        """
        with torch.inference_mode():
            stages = self.forward_stages(self.pixels([_blank()]))
        return tuple(int(stage.shape[1]) for stage in stages)

    @cached_property
    def aligned_channels(self) -> int:
        """Width of the space that patches and words share.

        Raises:
            ProviderError: If the model has no text tower.
        """
        return int(self.aligned([_blank()])[0].shape[-1])

    def maps(self, images: Sequence[Image], *, pool: int | None = None) -> list[Half]:
        """Blocks of each picture, in half precision.

        Args:
            images: RGB.
            pool: Average to pool x pool blocks.

        Returns:
            One array a picture. *Shape:* (G, channels)
        """
        return self._blocks(images, lambda pixels: _pooled(self.forward(pixels), pool))

    def aligned(self, images: Sequence[Image], *, pool: int | None = None) -> list[Half]:
        """Blocks of each picture in the space of the model's text tower, not normed, in half precision.

        Args:
            images: RGB.
            pool: Average to pool x pool blocks.

        Returns:
            One array a picture. *Shape:* (G, projection dim)

        Raises:
            ProviderError: If the model has no text tower.
        """
        return self._blocks(images, lambda pixels: _pooled(self.forward_aligned(pixels), pool))

    def encode_words(self, words: Sequence[str]) -> Half:
        """Words or phrases in the space of :meth:`aligned`, not normed, in half precision.

        Args:
            words: Any; each gives one vector.

        Returns:
            *Shape:* (words, projection dim)

        Raises:
            ProviderError: If the model has no text tower, or its tokenizer is missing.
        """
        return self._text_tower(words)

    @cached_property
    def _text_tower(self) -> TextTower:
        self._check_text_tower()
        return TextTower(self.name, device=self.device)

    def _check_text_tower(self) -> None:
        if not self._has_text_tower:
            raise ProviderError(no_text_tower(self.name, self.model))

    def stages(self, images: Sequence[Image], *, pool: int | None = None) -> list[Half]:
        """All stages of each picture side by side, in half precision.

        Args:
            images: RGB.
            pool: Each stage is averaged to pool x pool blocks; 2 x 2 when not given.

        Returns:
            One array a picture, row by row of blocks, the finest stage's channels first.
            *Shape:* (pool * pool, sum of ``stage_channels``)

        Raises:
            ProviderError: If the model has no stages.
        """
        size = pool or _STAGE_BLOCKS

        def blocks(pixels: Tensor) -> Tensor:
            pooled = [torch.nn.functional.adaptive_avg_pool2d(s, size) for s in self.forward_stages(pixels)]
            return torch.cat(pooled, dim=1).flatten(2).transpose(1, 2)

        return self._blocks(images, blocks)

    @torch.inference_mode()
    def _blocks(self, images: Sequence[Image], blocks: Callable[[Tensor], Tensor]) -> list[Half]:
        """What ``blocks`` makes of preprocessed pictures, as it is stored."""
        results: list[Half] = []
        # On a CPU convolutions are fastest one picture at a time, and the result then depends on the picture alone.
        size = 1 if torch.device(self.device).type == "cpu" else 32
        for start in range(0, len(images), size):
            made = blocks(self.pixels(images[start : start + size])).float().cpu().numpy()
            results.extend(np.clip(made, -65504, 65504).astype(np.float16))
        return results

    def forward(self, pixels: Tensor) -> Tensor:
        """The spatial map of preprocessed pictures. *Shape:* (n, channels, rows, columns).

        Raises:
            ProviderError: If the model gives none.
        """
        states = self.model(pixels.to(self.device)).last_hidden_state
        if states.ndim == 4:
            return states
        config = self.model.config
        patch = getattr(config, "patch_size", None)
        if states.ndim != 3 or not isinstance(patch, int):
            raise ProviderError(f"image backbone {self.name!r}: gives no spatial map (a {type(self.model).__name__})")
        rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        extra = states.shape[1] - rows * columns  # class and register tokens come first
        if extra < 0:
            raise ProviderError(
                f"image backbone {self.name!r}: {states.shape[1]} tokens for {rows} x {columns} patches"
            )
        return states[:, extra:].transpose(1, 2).unflatten(2, (rows, columns))

    def forward_aligned(self, pixels: Tensor) -> Tensor:
        """The map in the space of the text tower. *Shape:* (n, projection dim, rows, columns).

        Raises:
            ProviderError: If the model has no text tower.
        """
        self._check_text_tower()
        maps = self.forward(pixels)
        states = into_text_space(self.model, self._projection, maps.flatten(2).transpose(1, 2))
        if states is None:
            raise ProviderError(
                f"image backbone {self.name!r}: a {type(self.model).__name__} does not bring patches to its words; "
                "take a CLIP or SigLIP model, or leave 'aligned' out"
            )
        return states.transpose(1, 2).unflatten(2, maps.shape[-2:])

    def forward_stages(self, pixels: Tensor) -> list[Tensor]:
        """The last map at each of the last resolutions, finest first; the last of all is what ``forward`` gives.

        Returns:
            At most four. *Shape of each:* (n, channels, rows, columns)

        Raises:
            ProviderError: If the model has not several resolutions.
        """
        states = self.model(pixels.to(self.device), output_hidden_states=True)
        maps = [*(states.hidden_states or ()), states.last_hidden_state]
        by_size = {tuple(m.shape[-2:]): m for m in maps if m.ndim == 4}  # a later map takes an earlier one's place
        stages = list(by_size.values())[-STAGES:]
        if len(stages) < 2:
            raise ProviderError(
                f"image backbone {self.name!r}: has no stages (a {type(self.model).__name__}); take a convolutional "
                "one, e.g. ResNet or ConvNeXt, or leave 'stages' out"
            )
        return stages


def _pooled(maps: Tensor, pool: int | None) -> Tensor:
    """Blocks of a map, averaged to pool x pool. *Shapes:* (n, channels, rows, columns) to (n, G, channels)."""
    if pool is not None and pool < max(maps.shape[-2:]):
        maps = torch.nn.functional.adaptive_avg_pool2d(maps, pool)
    return maps.flatten(2).transpose(1, 2)


def _blank() -> Image:
    from dpe_mner.pictures.opening import pillow

    image: Image = pillow().new("RGB", (64, 64))
    return image
