"""AdaCoAtt: words and image regions guide each other's attention, two gates weigh them (Zhang et al., AAAI 2018).

Read in the authors' code; of the paper only what a re-implementation says of its equations. Stated there: word-guided
attention over regions, image-guided attention over words, gated fusion, a filtration gate, a CRF.

* ``faithful``: both attentions score a region (a word) by one vector over ``[its own part; the guide's part]``. Such a
  score is a sum f(region) + g(guide), and the softmax over regions cancels g: every word sees the same mixture. Fusion
  and filtration are those of the code.
* ``repaired``: the two parts are added inside the tanh (Bahdanau et al., 2015), so that words do guide; fusion and
  filtration are those of the paper, with one more layer where its formula gives a vector and a scalar is needed.

Of both versions: words and characters are read by our BiLSTM (one layer over both, as in the paper; the code stacks
two), and its vocabulary is that of the training posts and of given word vectors, never of the posts scored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.baselines.bilstm import BilstmCrf
from dpe_mner.baselines.network import Parts
from dpe_mner.baselines.vision import Blocks, image_blocks
from dpe_mner.representations.batch import Batch


class AdaCoAtt(BilstmCrf):
    """BiLSTM-CRF whose word states go through co-attention with y_c.

    Args:
        parts: With rare words and the sizes of y_c.
    """

    def __init__(self, parts: Parts) -> None:
        assert parts.rare is not None
        settings, d = parts.settings.bilstm, parts.settings.adacoatt.size
        width = 2 * settings.hidden_size
        super().__init__(parts.rare, unknown=parts.unknown, classes=parts.classes, settings=settings, width=width + d)
        self.channels = parts.channels("coarse")
        self.faithful = parts.settings.version == "faithful"
        self.regions = nn.Linear(self.channels, d)
        self.words_in = nn.Linear(width, d)
        self.visual_attention = GuidedAttention(d, faithful=self.faithful)
        self.textual_attention = GuidedAttention(d, faithful=self.faithful)
        self.visual = nn.Linear(d, d)
        self.textual = nn.Linear(d, d)
        self.fusion_gate = nn.Linear(d if self.faithful else 2 * d, 1)
        self.merged = nn.Linear(2 * d, d) if self.faithful else None
        self.filter = nn.Linear(d if self.faithful else width + d, 1)

    def states(self, batch: Batch, words: Tensor) -> Tensor:
        """Word states with what co-attention makes of them. *Shape:* (B, M, 2 hidden_size + size)."""
        h = super().states(batch, words)
        fused = self.co_attention(h, batch.word_mask, image_blocks(batch, batch.coarse, self.channels))
        return torch.cat([h, fused], dim=-1)

    def co_attention(self, h: Tensor, mask: Tensor, seen: Blocks) -> Tensor:
        """u_t of every word, zero for a post without a picture. *Shape:* (B, M, size)."""
        if seen.states.shape[1] == 0:
            return h.new_zeros(*h.shape[:2], self.regions.out_features)
        there = seen.present[:, None, None].to(h.dtype)
        x = self.words_in(h)
        v = self.visual_attention(torch.tanh(self.regions(seen.states)), x, seen.mask)
        t = self.textual_attention(x, v, mask)
        p, q = torch.tanh(self.visual(v)), torch.tanh(self.textual(t))
        if self.faithful:
            assert self.merged is not None
            g = torch.sigmoid(self.fusion_gate(p + q))
            m = self.merged(torch.cat([g * p, (1 - g) * q], dim=-1))
            return torch.sigmoid(self.filter(m)) * m * there
        g = torch.sigmoid(self.fusion_gate(torch.cat([p, q], dim=-1)))
        m = g * p + (1 - g) * q
        s = torch.sigmoid(self.filter(torch.cat([h, m], dim=-1)))
        return s * torch.tanh(m) * there


class GuidedAttention(nn.Module):
    """A mixture of items for every guide.

    Args:
        width: Of items and guides.
        faithful: Score items as the published code does.
    """

    def __init__(self, width: int, *, faithful: bool) -> None:
        super().__init__()
        self.faithful = faithful
        self.item = nn.Linear(width, width)
        self.guide = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(2 * width if faithful else width, 1)

    def weights(self, items: Tensor, guides: Tensor, mask: Tensor) -> Tensor:
        """Of every item for every guide. *Shape:* (B, guides, items)."""
        own, other = self.item(items)[:, None], self.guide(guides)[:, :, None]
        if self.faithful:
            size = (*other.shape[:2], own.shape[2], own.shape[3])
            inner = torch.cat([torch.tanh(own).expand(size), torch.tanh(other).expand(size)], dim=-1)
        else:
            inner = torch.tanh(own + other)
        logits = self.score(inner).squeeze(-1).masked_fill(~mask[:, None], -1e4)
        return logits.softmax(-1)

    def forward(self, items: Tensor, guides: Tensor, mask: Tensor) -> Tensor:
        """The mixtures.

        Args:
            items: *Shape:* (B, n, width)
            guides: *Shape:* (B, M, width)
            mask: Of the items. *Shape:* (B, n)

        Returns:
            *Shape:* (B, M, width)
        """
        return self.weights(items, guides, mask) @ items
