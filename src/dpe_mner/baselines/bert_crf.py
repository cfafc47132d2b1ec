"""BERT-CRF: an encoder, a linear layer over words (Devlin et al., 2019, 5.3), and a CRF."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.baselines.crf import CrfHead
from dpe_mner.baselines.network import Baseline
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.decoding.candidates import Row
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.text import TextEncoder


class BertCrf(Baseline):
    """Tags words with an encoder and a CRF.

    Args:
        text_encoder: Pretrained.
        classes: C, "no entity" included.
        settings: Dropout.
    """

    def __init__(self, text_encoder: TextEncoder, *, classes: int, settings: BaselineSettings) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.dropout = nn.Dropout(settings.dropout)
        self.crf = CrfHead(text_encoder.width, classes)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Negative log likelihood of the gold tags, a scalar."""
        assert batch.gold is not None
        return self.crf.loss(self.dropout(self.text_encoder(batch).x_t), batch.gold.tags)

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the best tag sequences."""
        return self.crf.decode(self.text_encoder(batch).x_t, batch.word_mask)
