"""BERT-Tag: an encoder and a linear layer over words, each word's tag by softmax (Devlin et al., 2019, 5.3).

The plainest token classifier: no CRF, so nothing holds tags of neighbouring words together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.crf import begin_orphans, tag_rows
from dpe_mner.baselines.network import Baseline
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.decoding.candidates import Row
from dpe_mner.objective.losses import IGNORED
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.text import TextEncoder


class BertTag(Baseline):
    """Tags each word by itself.

    Args:
        text_encoder: Pretrained.
        classes: C, "no entity" included.
        settings: Dropout.
    """

    def __init__(self, text_encoder: TextEncoder, *, classes: int, settings: BaselineSettings) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(text_encoder.width, 2 * (classes - 1) + 1)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Cross-entropy of the gold tags, a mean over words."""
        assert batch.gold is not None
        return tag_loss(self.output(self.dropout(self.text_encoder(batch).x_t)), batch.gold.tags)

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the likeliest tag of each word; an inside tag that continues nothing begins an entity."""
        return decode_tags(self.output(self.text_encoder(batch).x_t), batch.word_mask)


def tag_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy of tags, a mean over words. *Shapes:* (B, M, tags), (B, M); tags are -100 on padding."""
    return functional.cross_entropy(logits.float().flatten(0, 1), tags.flatten(), ignore_index=IGNORED)


def decode_tags(logits: Tensor, mask: Tensor) -> list[list[Row]]:
    """Entities of the likeliest tag of each word; an inside tag that continues nothing begins an entity."""
    best = logits.float().softmax(-1).max(-1)
    tags = begin_orphans(torch.where(mask, best.indices, 0))
    return [tag_rows(row, sure) for row, sure in zip(tags.tolist(), best.values.tolist(), strict=True)]
