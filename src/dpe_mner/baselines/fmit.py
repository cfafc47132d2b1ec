"""FMIT: words and visual cues in one flat lattice (Lu et al., COLING 2022).

No code was found. Stated in its abstract: noun phrases and general words yield visual cues; words and cues are one
lattice with a relative position encoding that matches the modalities; boundary detection is an auxiliary task against
visual bias. The attention is that of the lattice transformer it extends (Li et al., 2020: FLAT), with its sizes. All
else is a reconstruction:

* a cue is the mean over the blocks of its region (y_f); it stands where its phrase stands in the post, and a cue of a
  general word, or of no phrase, spans the whole post. Without regions the words of the object tags (y_ft) are cues,
  each of which spans the whole post;
* boundaries are detected from the words as the text encoder gives them, before any cue;
* how its position encoding differs from FLAT's is unknown: it is FLAT's here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.crf import CrfHead
from dpe_mner.baselines.network import MultimodalBaseline, Parts
from dpe_mner.baselines.umt import boundary_tags
from dpe_mner.baselines.vision import Blocks, image_blocks, joined, words_and_texts
from dpe_mner.decoding.candidates import Row
from dpe_mner.representations.batch import Batch

_HEADS, _SIZE = 8, 160  # FLAT's script: 8 heads of 20, a feed-forward block of three times the width
_FORWARD_DROPOUT = 0.15


class Fmit(MultimodalBaseline):
    """A lattice of words and cues, read by a CRF over the words.

    Args:
        parts: With a text encoder; for y_f with its sizes.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        own = parts.settings.fmit
        self.text_encoder = parts.text_encoder
        h = self.text_encoder.width
        self.boundary_weight = own.boundary_weight
        self.channels, self.fine_blocks = parts.vision.fine, parts.vision.fine_blocks
        self.dropout = nn.Dropout(parts.settings.dropout)
        self.region = None if self.channels is None else nn.Linear(self.channels, h)
        self.modality = nn.Embedding(2, _SIZE)
        self.narrow = nn.Linear(h, _SIZE)
        self.layers = nn.ModuleList(LatticeLayer(_SIZE, _HEADS) for _ in range(own.layers))
        self.crf = CrfHead(_SIZE, parts.classes)
        self.boundaries = CrfHead(h, 2)

    def states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Words after the lattice, and as the text encoder gives them. *Shapes:* (B, M, 160) and (B, M, e)."""
        x, _, tags = words_and_texts(self.text_encoder, batch)
        cues, where = self.cues(batch, tags)
        M = batch.words
        place = torch.arange(M, device=x.device).expand(len(batch), -1)
        positions = torch.cat([torch.stack([place, place], dim=-1), where], dim=1)
        mask = torch.cat([batch.word_mask, cues.mask], dim=1)
        kind = (torch.arange(mask.shape[1], device=x.device) >= M).long()
        u = self.narrow(self.dropout(torch.cat([x, cues.states], dim=1))) + self.modality(kind)
        for layer in self.layers:
            u = layer(u, positions, mask)
        return u[:, :M], x

    def cues(self, batch: Batch, tags: Blocks) -> tuple[Blocks, Tensor]:
        """Visual cues with their first and last word. *Shapes:* blocks of width e, (B, cues, 2)."""
        whole = torch.stack([torch.zeros_like(batch.lengths), batch.lengths - 1], dim=-1)[:, None]
        general = whole.expand(-1, tags.mask.shape[1], -1)
        if self.region is None or self.channels is None or batch.fine is None:
            return tags, general
        fine = image_blocks(batch, batch.fine, self.channels)
        mean, there = region_means(fine, self.fine_blocks)
        words = batch.fine_words
        if words is None:
            where = whole.expand(-1, there.shape[1], -1)
        else:
            own = words[:, :: self.fine_blocks]
            where = torch.where((own >= 0).all(-1, keepdim=True), own, whole)
        return joined(tags, Blocks(self.region(mean), there)), torch.cat([general, where], dim=1)

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """Negative log likelihood of the tags, and of the boundaries."""
        assert batch.gold is not None
        states, words = self.states(batch)
        return {
            "entities": self.crf.loss(states, batch.gold.tags),
            "boundaries": self.boundary_weight
            * self.boundaries.loss(self.dropout(words), boundary_tags(batch.gold.tags)),
        }

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the best tag sequences."""
        return self.crf.decode(self.states(batch)[0], batch.word_mask)


def region_means(fine: Blocks, blocks: int) -> tuple[Tensor, Tensor]:
    """Mean over the blocks of each region, and which regions are there. *Shapes:* (B, R, channels), (B, R)."""
    B, L, channels = fine.states.shape
    mask = fine.mask.view(B, L // blocks, blocks)
    total = fine.states.view(B, L // blocks, blocks, channels).sum(2)
    return total / mask.sum(2).clamp(min=1)[..., None], mask.any(2)


class LatticeLayer(nn.Module):
    """FLAT's attention over nodes with a first and a last position, and a feed-forward block; norms after the sums.

    Args:
        width: Of the nodes.
        heads: Must divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.relative = nn.Linear(width, width, bias=False)
        self.distances = nn.Linear(4 * width, width)
        self.content_bias = nn.Parameter(torch.zeros(heads, width // heads))
        self.position_bias = nn.Parameter(torch.zeros(heads, width // heads))
        self.output = nn.Linear(width, width)
        self.attention_norm, self.output_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 3 * width), nn.ReLU(), nn.Dropout(_FORWARD_DROPOUT), nn.Linear(3 * width, width)
        )

    def scores(self, states: Tensor, positions: Tensor) -> Tensor:
        """A_ij = (W_q x_i + u)(W_k x_j) + (W_q x_i + v)(W_r R_ij), per head.

        Args:
            states: *Shape:* (B, N, width)
            positions: First and last word of each node. *Shape:* (B, N, 2)

        Returns:
            *Shape:* (B, heads, N, N)
        """
        B, N, width = states.shape
        q = self.query(states).view(B, N, self.heads, -1)
        k = self.key(states).view(B, N, self.heads, -1)
        content = torch.einsum("bihd,bjhd->bhij", q + self.content_bias, k)
        # W_r meets the queries, not the N x N distances: the same product, N times cheaper.
        by_head = self.relative.weight.view(self.heads, -1, width)
        asked = torch.einsum("bihd,hdw->bihw", q + self.position_bias, by_head)
        return content + torch.einsum("bihw,bijw->bhij", asked, self.relations(positions))

    def relations(self, positions: Tensor) -> Tensor:
        """R_ij of the four differences between first and last words. *Shapes:* (B, N, 2) -> (B, N, N, width)."""
        first, last = positions.unbind(-1)
        ends = ((first, first), (first, last), (last, first), (last, last))
        far = int(positions.max()) + 1
        width = self.relative.weight.shape[1]
        table = sinusoids(far, width, device=positions.device)
        total: Tensor = self.distances.bias
        for k, (one, other) in enumerate(ends):  # the layer over all four, as a sum of one over each
            projected = functional.linear(table, self.distances.weight[:, k * width : (k + 1) * width])
            total = total + functional.embedding(one[:, :, None] - other[:, None] + far, projected)
        return functional.relu(total)

    def forward(self, states: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """One layer. *Shapes:* (B, N, width), (B, N, 2), (B, N) -> (B, N, width)."""
        B, N, width = states.shape
        weights = self.scores(states, positions).masked_fill(~mask[:, None, None], -1e4).softmax(-1)
        v = self.value(states).view(B, N, self.heads, -1)
        mixed = torch.einsum("bhij,bjhd->bihd", weights, v).reshape(B, N, width)
        states = self.attention_norm(states + self.output(mixed))
        closed: Tensor = self.output_norm(states + self.feed_forward(states))
        return closed


def sinusoids(far: int, width: int, *, device: torch.device) -> Tensor:
    """Sine and cosine encodings of the differences -far .. far (Vaswani et al., 2017). *Shape:* (2 far + 1, width)."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(10000) / max(half - 1, 1)))
    angles = torch.arange(-far, far + 1, device=device)[:, None] * rates
    return functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width - 2 * half))
