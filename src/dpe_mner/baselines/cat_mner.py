"""CAT-MNER: knowledge-refined cross-modal attention, spans classified (Wang et al., ICME 2022).

Neither code nor text was found. Stated elsewhere: spans are classified as in BERT-Span, its text-only half; words of
the types, widened by outside knowledge, say which parts of a picture matter, and refine the attention to them. All
else is a reconstruction:

* a block's saliency is the largest cosine between it and a word of any type, and a softmax over the post's blocks;
* one transformer layer reads words and blocks together, and the odds of attending to a block are multiplied by its
  saliency, measured against an even one;
* the words of a type are ours (:mod:`~dpe_mner.baselines.own_words`), or a setting.

A cosine between a word and a block needs one space for both: y_ct and y_ft run through the text encoder, as the
type's words do; y_c must come from a text-aligned backbone (``grid.aligned``), whose text tower encoded the words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.network import Parts
from dpe_mner.baselines.own_words import OwnTexts, type_words
from dpe_mner.baselines.span import BertSpan
from dpe_mner.baselines.vision import Blocks, image_blocks, joined, words_and_texts
from dpe_mner.fusion.attention import TransformerLayer
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.text import pool_pieces


class CatMner(BertSpan):
    """BERT-Span whose words first read the picture's blocks.

    Args:
        parts: With a text encoder; for y_c with the sizes and the aligned words too.
    """

    aligned_words: Tensor | None

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.text_encoder, classes=parts.classes, settings=parts.settings)
        own = parts.settings.cat_mner
        h = self.text_encoder.width
        self.temperature = own.temperature
        self.type_words = OwnTexts(type_words(parts.labels, own.words), parts.tokenizer)
        self.channels = parts.vision.coarse if parts.aligned_words is not None else None
        self.register_buffer("aligned_words", parts.aligned_words)
        self.image = None if self.channels is None else nn.Linear(self.channels, h)
        self.layer = TransformerLayer(width=h, heads=parts.heads, ratio=1.0, dropout=0.1)

    def words(self, batch: Batch) -> Tensor:
        """Words that have read the blocks. *Shape:* (B, M, e)."""
        x, caption, tags = words_and_texts(self.text_encoder, batch)
        texts = joined(caption, tags)
        blocks, likeness = texts, closeness(texts.states, self.encoded_type_words())
        if self.image is not None and self.channels is not None and self.aligned_words is not None:
            grid = image_blocks(batch, batch.coarse, self.channels)
            likeness = torch.cat([likeness, closeness(grid.states, self.aligned_words)], dim=1)
            blocks = joined(texts, grid.with_states(self.image(grid.states)))
        every = torch.cat([x, blocks.states], dim=1)
        mask = torch.cat([batch.word_mask, blocks.mask], dim=1)
        odds = torch.cat([torch.ones_like(x[..., 0]), saliency(likeness, blocks, self.temperature)], dim=1)
        read: Tensor = self.layer(every, mask, odds=odds, wanted=slice(0, batch.words))
        return read

    def encoded_type_words(self) -> Tensor:
        """The words of all types by the text encoder, each read alone. *Shape:* (words, e)."""
        pieces = self.type_words.pieces()
        states = self.text_encoder.states(pieces, self.text_encoder.embed(pieces)[0])
        return pool_pieces(states, pieces.word_index, 1)[:, 0]


def closeness(blocks: Tensor, words: Tensor) -> Tensor:
    """The largest cosine between a block and any word. *Shapes:* (B, n, width), (words, width) -> (B, n)."""
    cosine = functional.normalize(blocks, dim=-1) @ functional.normalize(words, dim=-1).T
    return cosine.amax(-1)


def saliency(likeness: Tensor, blocks: Blocks, temperature: float) -> Tensor:
    """A softmax over a post's blocks, times their number: 1 everywhere when no block stands out.

    Args:
        likeness: *Shape:* (B, n)
        blocks: For their mask.
        temperature: Of the softmax.

    Returns:
        Above 0, also where there is no block. *Shape:* (B, n)
    """
    if likeness.shape[1] == 0:
        return likeness
    logits = (likeness / temperature).masked_fill(~blocks.mask, -1e4)
    share = logits.softmax(-1) * blocks.mask.sum(1, keepdim=True)
    return torch.where(blocks.mask, share, 1.0).clamp(min=1e-6)
