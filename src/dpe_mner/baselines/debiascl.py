"""DebiasCL: post and picture drawn together by a debiased contrast, harder posts twice (Zhang et al., WSDM 2023).

Read in the paper; of its code the losses and the loop, for the model is not published. Layers of self-attention and of
attention to the other modality on both sides (twelve in the paper, as many as its encoder has, and as many as the
encoder at hand has here); a CRF tags the text side. The mean states of words and of blocks
are contrasted: each is drawn to its partner's and pushed from those of all other posts, of both modalities; the
negatives are corrected for the share of positives among them (Chuang et al., 2020). Posts with most objects in their
pictures make a second batch of that kind, encoded anew.

* ``faithful``: as the code has it: similarity is a plain product over a temperature of 10, and the hardest posts are
  those with most objects.
* ``repaired``: similarity is a cosine over a temperature of 0.1 (with 10 a cosine could hardly move the loss), and the
  hardest posts are the densest, objects over the size of the picture, as the paper's algorithm has it.

Left out: the "image types" added before the decoder, which the paper does not describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.crf import CrfHead
from dpe_mner.baselines.layers import CrossLayer, attend
from dpe_mner.baselines.network import MultimodalBaseline, Parts
from dpe_mner.baselines.vision import Blocks, image_blocks
from dpe_mner.decoding.candidates import Row
from dpe_mner.fusion.attention import Attention
from dpe_mner.fusion.relevance import masked_mean
from dpe_mner.representations.batch import Batch

_SIZE, _HEADS, _DROPOUT = 200, 8, 0.2
_POSITIVE_SHARE = 0.1  # tau+, of the code
_RANDOM_WEIGHT, _HARD_WEIGHT = 1.0, 2.0


class DebiasCl(MultimodalBaseline):
    """Words and blocks through layers of crossed attention, contrasted by post.

    Args:
        parts: With a text encoder and the sizes of y_c.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        own = parts.settings.debiascl
        self.text_encoder = parts.text_encoder
        self.channels = parts.channels("coarse")
        self.contrast, self.hard_posts = own.contrast, own.hard_posts
        self.cosine = parts.settings.version == "repaired"
        self.temperature = 0.1 if self.cosine else 10.0
        self.words = _projection(self.text_encoder.width)
        self.blocks = _projection(self.channels)
        self.layers = nn.ModuleList(CrossedLayer() for _ in range(own.layers or parts.layers))
        self.crf = CrfHead(_SIZE, parts.classes)

    def read(self, batch: Batch) -> tuple[Tensor, Blocks]:
        """Words and blocks after the last layer. *Shapes:* (B, M, 200), and blocks of width 200."""
        words = Blocks(self.words(self.text_encoder(batch).x_t), batch.word_mask)
        seen = image_blocks(batch, batch.coarse, self.channels)
        blocks = seen.with_states(self.blocks(seen.states))
        for layer in self.layers:
            words, blocks = layer(words, blocks)
        return words.states, blocks

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """Negative log likelihood of the gold tags, and the two contrasts."""
        assert batch.gold is not None
        words, blocks = self.read(batch)
        found = {"entities": self.crf.loss(words, batch.gold.tags)}
        if self.contrast == "none":
            return found
        found["contrast"] = _RANDOM_WEIGHT * self._contrast(batch, words, blocks)
        hard = self.hardest(batch)
        if len(hard) > 1:
            chosen = select_posts(batch, hard)
            found["hard_contrast"] = _HARD_WEIGHT * self._contrast(chosen, *self.read(chosen))
        return found

    def _contrast(self, batch: Batch, words: Tensor, blocks: Blocks) -> Tensor:
        there = blocks.present
        text, image = masked_mean(words, batch.word_mask)[there], masked_mean(blocks.states, blocks.mask)[there]
        if self.cosine:
            text, image = functional.normalize(text, dim=-1), functional.normalize(image, dim=-1)
        share = _POSITIVE_SHARE if self.contrast == "debiased" else 0.0
        return contrastive_loss(text, image, temperature=self.temperature, positive_share=share)

    def hardest(self, batch: Batch) -> Tensor:
        """Up to N posts with most objects, densest or simply most; none where nobody counted. *Shape:* (up to N,)."""
        objects = batch.objects
        if objects is None or batch.coarse is None:
            return torch.zeros(0, dtype=torch.long)
        by = objects[:, 1] if self.cosine else objects[:, 0]
        known = (objects[:, 0] >= 0) & batch.coarse.mask.any(1)
        order = by.masked_fill(~known, -1.0).argsort(descending=True, stable=True)
        return order[: min(self.hard_posts, int(known.sum()))]

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the best tag sequences."""
        return self.crf.decode(self.read(batch)[0], batch.word_mask)


class CrossedLayer(nn.Module):
    """Each side attends to itself, then to the other side, and goes through a feed-forward block."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.ModuleList(Attention(width=_SIZE, heads=_HEADS, dropout=0.0) for _ in range(2))
        self.own_norms = nn.ModuleList(nn.LayerNorm(_SIZE) for _ in range(2))
        self.other = nn.ModuleList(CrossLayer(width=_SIZE, heads=_HEADS, dropout=_DROPOUT, ratio=1.0) for _ in range(2))

    def forward(self, words: Blocks, blocks: Blocks) -> tuple[Blocks, Blocks]:
        """One layer of both sides."""
        read = []
        for side, attention, norm in zip((words, blocks), self.own, self.own_norms, strict=True):
            assert isinstance(attention, Attention)
            read.append(side.with_states(norm(side.states + attend(attention, side.states, side))))
        mine, theirs = (
            side.with_states(layer(side.states, other))
            for side, other, layer in zip(read, reversed(read), self.other, strict=True)
        )
        return mine, theirs


def contrastive_loss(text: Tensor, image: Tensor, *, temperature: float, positive_share: float) -> Tensor:
    """Each post's text against its picture and back, with negatives corrected for hidden positives.

    With f = exp(similarity / temperature), N negatives and the positive share p: -log f+ / (f+ + g), where g is
    (sum of f- less p N f+) / (1 - p), but at least N exp(-1 / temperature). With p = 0 it is InfoNCE.

    Args:
        text: A vector a post. *Shape:* (n, width)
        image: Of the same posts. *Shape:* (n, width)
        temperature: Divides the products.
        positive_share: tau+.

    Returns:
        A mean over the 2 n vectors; zero for fewer than two posts.
    """
    n = len(text)
    if n < 2:
        return text.sum() * 0.0
    both = torch.cat([text, image]).float()
    logits = both @ both.T / temperature
    partner = torch.arange(2 * n, device=both.device).roll(n)
    positive = logits.gather(1, partner[:, None]).squeeze(1)
    own = torch.eye(2 * n, dtype=torch.bool, device=both.device)
    negative = logits.masked_fill(own | own[partner], -torch.inf)
    # All in logarithms relative to the largest: plain products over a temperature can overflow an exponential.
    most = torch.maximum(negative.amax(1), positive).detach()
    f_positive, f_negative = (positive - most).exp(), (negative - most[:, None]).exp().sum(1)
    count = 2 * n - 2
    g = f_negative
    if positive_share:
        least = count * (-1 / temperature - most).exp()
        g = torch.maximum((f_negative - positive_share * count * f_positive) / (1 - positive_share), least)
    return -(positive - most - (f_positive + g).log()).mean()


def select_posts(batch: Batch, rows: Tensor) -> Batch:
    """Some posts of a batch, with their pictures."""

    def chosen(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows]
        if value is None or isinstance(value, int):
            return value
        return replace(value, **{f.name: getattr(value, f.name)[rows] for f in fields(value)})

    return Batch(**{f.name: chosen(getattr(batch, f.name)) for f in fields(batch)})


def _projection(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, _SIZE), nn.ReLU(), nn.Dropout(_DROPOUT))
