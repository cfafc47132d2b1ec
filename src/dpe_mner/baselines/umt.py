"""UMT: a unified multimodal transformer with a text-only boundary tagger beside it (Yu et al., ACL 2020).

Read in the authors' code; the paper's text was not at hand. Stated there: every layer, both CRFs, the conversion of
boundary scores to tag scores, and the equal weights of both in the sum. Ours: words instead of word pieces are tagged,
so the boundary tags are B, I and O alone, without those of special pieces.

The published code reads a random window of each picture and another picture in its place where that fails, and leaves
the image network in training mode. Here the whole picture is read, and a post without one has no visual blocks, in
both versions: nobody can have meant the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from dpe_mner.baselines.crf import CrfHead
from dpe_mner.baselines.layers import CrossLayer
from dpe_mner.baselines.network import MultimodalBaseline, Parts
from dpe_mner.baselines.vision import Blocks, image_blocks
from dpe_mner.decoding.candidates import Row
from dpe_mner.representations.batch import Batch

_BOUNDARY_WEIGHT = 0.5  # of the auxiliary loss, and of both kinds of scores in their sum; in the authors' code
_DROPOUT = 0.1


class Umt(MultimodalBaseline):
    """Words and image regions attend to one another both ways; a gate lets visual states through.

    Args:
        parts: With a text encoder and the sizes of y_c.
    """

    conversion: Tensor

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.text_encoder = parts.text_encoder
        self.channels = parts.channels("coarse")
        h = self.text_encoder.width
        layer = partial(CrossLayer, width=h, heads=parts.heads, dropout=_DROPOUT)
        self.dropout = nn.Dropout(_DROPOUT)
        self.auxiliary = layer()
        self.main = layer()
        self.to_words = nn.Linear(self.channels, h)
        self.to_image = nn.Linear(self.channels, h)
        self.word_aware_visual = layer()
        self.image_side = layer()
        self.image_aware_words = layer()
        self.gate = nn.Linear(2 * h, h)
        self.crf = CrfHead(2 * h, parts.classes)
        self.boundaries = CrfHead(h, 2)
        self.register_buffer("conversion", boundary_conversion(parts.classes), persistent=False)

    def emissions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores of tags and of boundary tags. *Shapes:* (B, M, 2T + 1) and (B, M, 3)."""
        x = self.dropout(self.text_encoder(batch).x_t)
        mask = batch.word_mask
        boundaries = self.boundaries.output(self.auxiliary(x, Blocks(x, mask)))
        words = self.main(x, Blocks(x, mask))
        seen = image_blocks(batch, batch.coarse, self.channels)
        visual = self.word_aware_visual(words, seen.with_states(self.to_words(seen.states)))
        image = self.image_side(self.to_image(seen.states), Blocks(words, mask))
        aware = self.image_aware_words(words, seen.with_states(image))
        gate = torch.sigmoid(self.gate(torch.cat([aware, visual], dim=-1)))
        scores = self.crf.output(torch.cat([aware, gate * visual], dim=-1))
        converted = boundaries @ self.conversion
        return (1 - _BOUNDARY_WEIGHT) * scores + _BOUNDARY_WEIGHT * converted, boundaries

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """Negative log likelihood of the tags, and of the boundaries."""
        assert batch.gold is not None
        scores, boundaries = self.emissions(batch)
        return {
            "entities": self.crf.loss_of(scores, batch.gold.tags),
            "boundaries": _BOUNDARY_WEIGHT * self.boundaries.loss_of(boundaries, boundary_tags(batch.gold.tags)),
        }

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the best tag sequences of the main CRF."""
        return self.crf.decode_of(self.emissions(batch)[0], batch.word_mask)


def boundary_conversion(classes: int) -> Tensor:
    """Boundary scores to tag scores: O to O, B and I shared evenly among the types. *Shape:* (3, 2T + 1)."""
    types = classes - 1
    conversion = torch.zeros(3, 2 * types + 1)
    conversion[0, 0] = 1
    conversion[1, 1::2] = conversion[2, 2::2] = 1 / types
    return conversion


def boundary_tags(tags: Tensor) -> Tensor:
    """Tags without their types: 0 O, 1 B, 2 I, -100 as it is. *Shape:* unchanged."""
    return torch.where(tags > 0, 2 - tags % 2, tags)
