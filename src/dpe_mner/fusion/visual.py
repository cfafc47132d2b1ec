"""The four visual representations y_c, y_ct, y_f, y_ft of a batch, projected to h, each with its mask (2.2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpe_mner.fusion.relevance import masked_mean
from dpe_mner.settings import GRAINS, FusionSettings, Grain


@dataclass(frozen=True)
class VisualStates:
    """One visual representation after projection. *Shapes:* (B, L, h) and (B, L); False everywhere: missing."""

    states: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """*Shape:* (B,)."""
        if self.mask.shape[1] == 0:  # what "any" of nothing is, ONNX leaves open
            return self.mask.new_zeros(self.mask.shape[0])
        return self.mask.any(dim=1)

    @property
    def pooled(self) -> Tensor:
        """*Shape:* (B, h)."""
        return masked_mean(self.states, self.mask)

    def rows(self, index: Tensor) -> VisualStates:
        """The states of some of the posts."""
        return VisualStates(self.states[index], self.mask[index])


@dataclass(frozen=True)
class GrainStates:
    """The image (hard) and image2text (easy) representation of one grain j."""

    image: VisualStates
    image2text: VisualStates

    @property
    def present(self) -> Tensor:
        """Whether any of the two exists. *Shape:* (B,)."""
        return self.image.present | self.image2text.present

    @property
    def pooled(self) -> Tensor:
        """[y_j; y_jt]. *Shape:* (B, 2h)."""
        return torch.cat([self.image.pooled, self.image2text.pooled], dim=-1)

    def rows(self, index: Tensor) -> GrainStates:
        """The grain of some of the posts."""
        return GrainStates(self.image.rows(index), self.image2text.rows(index))


class VisualProjection(nn.Module):
    """Bring the representations to the width h and mark their kind.

    Args:
        text_width: Width of the encoder that made y_ct and y_ft.
        width: h.
        settings: Channels of the image features and the random-feature switch of Table 4.
    """

    def __init__(self, *, text_width: int, width: int, settings: FusionSettings) -> None:
        super().__init__()
        self.width = width
        self.random = {"none": None, "coarse": "c", "fine": "f"}[settings.random_features]
        sizes = {"c": settings.coarse_image_size, "f": settings.fine_image_size}
        self.image = nn.ModuleDict(
            {j: nn.Sequential(nn.LayerNorm(sizes[j]), nn.Linear(sizes[j], width)) for j in GRAINS}
        )
        self.image2text = nn.ModuleDict({j: nn.Linear(text_width, width) for j in GRAINS})
        self.neighbours = nn.ModuleDict(
            {j: Neighbours(width=width, reach=settings.visual_neighbours) for j in GRAINS if settings.visual_neighbours}
        )
        self.kind = nn.ParameterDict({j: nn.Parameter(torch.randn(2, width) * 0.02) for j in GRAINS})

    def start_as(self, text_projection: nn.Module) -> None:
        """Start with captions and tags projected as the words are: one encoder made both, so like words are alike."""
        if isinstance(text_projection, nn.Linear):
            for projection in self.image2text.values():
                projection.load_state_dict(text_projection.state_dict())
        else:
            for projection in self.image2text.values():
                assert isinstance(projection, nn.Linear)
                nn.init.eye_(projection.weight)
                nn.init.zeros_(projection.bias)

    def forward(
        self, grain: Grain, image: tuple[Tensor, Tensor] | None, image2text: tuple[Tensor, Tensor] | None, like: Tensor
    ) -> GrainStates:
        """Project one grain.

        Args:
            grain: ``c`` or ``f``.
            image: Features and mask. *Shapes:* (B, G, channels), (B, G), or None.
            image2text: Encoded text and mask. *Shapes:* (B, K, text_width), (B, K), or None.
            like: Gives batch size, dtype and device. *Shape:* (B, ...)

        Returns:
            Both states, with an empty mask where a part is missing.
        """
        hard = self._one(self.image[grain], image, self.kind[grain][0], like, random=self.random == grain)
        easy = self._one(self.image2text[grain], image2text, self.kind[grain][1], like, random=self.random == grain)
        if grain in self.neighbours and easy.mask.shape[1]:
            easy = VisualStates(self.neighbours[grain](easy.states, easy.mask), easy.mask)
        return GrainStates(image=hard, image2text=easy)

    def _one(
        self, projection: nn.Module, part: tuple[Tensor, Tensor] | None, kind: Tensor, like: Tensor, *, random: bool
    ) -> VisualStates:
        if part is None:
            B = like.shape[0]
            return VisualStates(
                like.new_zeros(B, 0, self.width), torch.zeros(B, 0, dtype=torch.bool, device=like.device)
            )
        features, mask = part
        if random:
            features = _fixed_noise(features)
        states = projection(features.to(like.dtype)) + kind
        return VisualStates(torch.where(mask[..., None], states, states.new_zeros(())), mask)


class Neighbours(nn.Module):
    """Words of a caption take in those beside them: a name is what is said next to it, "Kevin Durant is a person".

    A word of the post finds itself in the caption by likeness; what it looks for stands beside that place. With this a
    single look brings both, without it learning must first build two looks in a row.

    Args:
        width: h.
        reach: Neighbours to each side.
    """

    def __init__(self, *, width: int, reach: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, 2 * reach + 1, padding=reach)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Add the mixture of the neighbours. *Shapes:* (B, L, h), zero where the mask (B, L) is False -> (B, L, h)."""
        mixed = states + self.mix(states.transpose(1, 2)).transpose(1, 2)
        return torch.where(mask[..., None], mixed, mixed.new_zeros(()))


def _fixed_noise(features: Tensor) -> Tensor:
    """Random vectors in place of features (Table 4), the same for every post and call."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(features.shape[1:], generator=generator)
    return noise.to(features).expand_as(features)
