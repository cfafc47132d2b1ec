"""HVPNeT: the picture's maps as a prefix to every layer of the text encoder (Chen et al., Findings of NAACL 2022).

Read in the authors' code; of the paper the abstract and a figure. Whole picture and crops go through one projection,
cut into pieces that a gate of every layer mixes; the mixture is keys and values that text attends to. A CRF tags.

* ``faithful``: as the code has it. A picture's four tokens are groups of channels, not places, because the maps are
  viewed without moving the channels; the gate mixes four slices of one projection; heads see different pictures,
  because the prefix is cut into heads before its positions; missing crops are attended to as zeros.
* ``repaired``: a token is a place of a 2 x 2 grid; each stage of the image backbone has its own projection and the
  gate mixes stages, as the figure has it; every head sees every picture; what is not there is not attended to.

Features that hold one map only (``grid.stages: false``) have one projection, cut into four slices, in both versions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.crf import CrfHead
from dpe_mner.baselines.network import MultimodalBaseline, Parts
from dpe_mner.baselines.prefix import GridTokens, split_heads
from dpe_mner.baselines.vision import Blocks
from dpe_mner.decoding.candidates import Row
from dpe_mner.errors import InputError
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.bert import PrefixStates

_INNER, _SLICES = 800, 4  # of the code
_DROPOUT = 0.1


class Hvpnet(MultimodalBaseline):
    """A text encoder with a hierarchical visual prefix, and a CRF.

    Args:
        parts: With a text encoder that takes a prefix, and the sizes of y_c or y_f.

    Raises:
        InputError: If y_c and y_f differ in their channels: one projection reads both.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        vision = parts.vision
        channels = vision.coarse or parts.channels("fine")
        if vision.fine not in (None, channels):
            raise InputError(
                f"hvpnet: whole pictures have {channels} channels and regions {vision.fine}; give both the same "
                "backbone (settings.pictures.grid, settings.pictures.regions)"
            )
        self.text_encoder = parts.text_encoder
        h, layers = self.text_encoder.width, len(self.text_encoder.encoder.encoder["layer"])
        self.heads = parts.heads
        self.faithful = parts.settings.version == "faithful"
        self.tokens = GridTokens(channels, fine_blocks=vision.fine_blocks, by_channel=self.faithful)
        stages = vision.stages if not self.faithful and len(vision.stages) > 1 else [channels]
        self.stages = list(stages)
        self.slices = len(stages) if len(stages) > 1 else _SLICES
        per_stage = 2 * h * self.slices // len(stages)
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(size, _INNER), nn.Tanh(), nn.Linear(_INNER, per_stage)) for size in stages
        )
        self.gates = nn.ModuleList(nn.Linear(2 * h * self.slices, self.slices) for _ in range(layers))
        self.dropout = nn.Dropout(_DROPOUT)
        self.crf = CrfHead(h, parts.classes)

    def pieces(self, tokens: Tensor) -> Tensor:
        """F_1 .. F_4 of every token. *Shapes:* (..., channels) -> (..., slices, 2 h)."""
        parts = [project(own) for project, own in zip(self.project, tokens.split(self.stages, dim=-1), strict=True)]
        return torch.cat(parts, dim=-1).unflatten(-1, (self.slices, -1))

    def prefix(self, pictures: list[Blocks]) -> LayerwisePrefix:
        """The prefix of all pictures, whole and crops side by side."""
        made = [self.pieces(picture.states) for picture in pictures]
        gated = [[self.mix(layer, own) for own in made] for layer in range(len(self.gates))]
        mask = torch.cat([picture.mask for picture in pictures], dim=1)
        return LayerwisePrefix(
            [torch.cat(parts, dim=1) for parts in gated],
            torch.ones_like(mask) if self.faithful else mask,
            heads=self.heads,
            scrambled=self.faithful,
        )

    def mix(self, layer: int, pieces: Tensor) -> Tensor:
        """One layer's mixture of a picture's pieces. *Shapes:* (B, tokens, slices, 2 h) -> (B, tokens, 2 h)."""
        a = functional.leaky_relu(self.gates[layer](pieces.mean(1).flatten(1))).softmax(-1)
        return torch.einsum("bs,btsw->btw", a, pieces)

    def words(self, batch: Batch) -> Tensor:
        """Words that have read the pictures. *Shape:* (B, M, e)."""
        pictures = self.tokens(batch)
        if not pictures:
            return self.text_encoder(batch, prefix=None).x_t
        words: Tensor = self.text_encoder(batch, prefix=self.prefix(pictures)).x_t
        return words

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """Negative log likelihood of the gold tags."""
        assert batch.gold is not None
        return {"entities": self.crf.loss(self.dropout(self.words(batch)), batch.gold.tags)}

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the best tag sequences."""
        return self.crf.decode(self.words(batch), batch.word_mask)


class LayerwisePrefix:
    """Keys and values of each layer, made before the text is read.

    Args:
        states: Of each layer, keys before values. *Shape:* (B, P, 2 h)
        mask: *Shape:* (B, P)
        heads: Of the encoder.
        scrambled: Cut positions and widths together into heads, as the published code does.
    """

    def __init__(self, states: list[Tensor], mask: Tensor, *, heads: int, scrambled: bool) -> None:
        self.states = states
        self.mask = mask
        self.heads = heads
        self.scrambled = scrambled

    def __call__(self, layer: int, states: Tensor) -> PrefixStates:
        """See :class:`~dpe_mner.representations.bert.Prefix`."""
        keys, values = self.states[layer].chunk(2, dim=-1)
        if self.scrambled:
            size = (len(keys), self.heads, keys.shape[1], -1)
            return PrefixStates(keys.reshape(size), values.reshape(size), self.mask)
        return PrefixStates(split_heads(keys, self.heads), split_heads(values, self.heads), self.mask)
