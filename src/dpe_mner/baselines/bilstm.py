"""BiLSTM-CRF: words and their characters through a bidirectional LSTM (Lample et al., 2016) to a CRF.

Characters go through a convolution, as Ma and Hovy (2016) have it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dpe_mner.baselines.crf import CrfHead
from dpe_mner.baselines.network import Baseline
from dpe_mner.baselines.settings import BilstmSettings
from dpe_mner.decoding.candidates import Row
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.word_features import CharacterConvolution


class BilstmCrf(Baseline):
    """Tags words with an LSTM in both directions and a CRF.

    Args:
        rare: Words that training may read as the unknown one. *Shape:* (words,)
        unknown: Number of the unknown word; 0 is padding.
        classes: C, "no entity" included.
        settings: Sizes and dropout.
        width: Of the states the CRF reads; the LSTM's own when not given.
    """

    rare: Tensor

    def __init__(
        self, rare: Tensor, *, unknown: int, classes: int, settings: BilstmSettings, width: int | None = None
    ) -> None:
        super().__init__()
        self.unknown = unknown
        self.rare_replacement = settings.rare_replacement
        self.register_buffer("rare", rare, persistent=False)
        self.words = nn.Embedding(len(rare), settings.word_size, padding_idx=0)
        bound = math.sqrt(3 / settings.word_size)  # unit variance over the whole vector (Ma and Hovy, 2016, 3.1)
        with torch.no_grad():
            self.words.weight[1:].uniform_(-bound, bound)
        self.characters = CharacterConvolution(settings.character_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.lstm = nn.LSTM(
            settings.word_size + settings.character_size,
            settings.hidden_size,
            num_layers=settings.layers,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.crf = CrfHead(width or 2 * settings.hidden_size, classes)

    @torch.no_grad()
    def load_words(self, numbers: Tensor, vectors: Tensor) -> None:
        """Start words from given vectors. *Shapes:* (V,) and (V, word_size)."""
        self.words.weight[numbers] = vectors.to(self.words.weight)

    def states(self, batch: Batch, words: Tensor) -> Tensor:
        """States of the words of both directions. *Shape:* (B, M, 2 hidden_size)."""
        assert batch.characters is not None
        seen = self.dropout(torch.cat([self.words(words), self.characters(batch.characters)], dim=-1))
        packed = nn.utils.rnn.pack_padded_sequence(
            seen, batch.lengths.cpu(), batch_first=True, enforce_sorted=False
        )  # else the backward direction would begin in the padding
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=batch.words)
        return self.dropout(states)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Negative log likelihood of the gold tags, a scalar; some rare words are read as unknown."""
        assert batch.gold is not None
        words = batch.text.ids
        drawn = torch.rand(words.shape, generator=generator, device=words.device) < self.rare_replacement
        words = torch.where(drawn & self.rare[words], self.unknown, words)
        return self.crf.loss(self.states(batch, words), batch.gold.tags)

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the best tag sequences."""
        return self.crf.decode(self.states(batch, batch.text.ids), batch.word_mask)
