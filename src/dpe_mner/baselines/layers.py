"""The transformer layer that UMT, DebiasCL and MNER-QG cross their modalities with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.vision import Blocks
from dpe_mner.fusion.attention import Attention


class CrossLayer(nn.Module):
    """A BERT layer (norms after the sums) whose queries come from one sequence and its keys and values from another.

    With the same sequence twice it is self-attention. A post whose context is empty keeps its queries as they are up
    to the feed-forward block: nothing is attended to.

    Args:
        width: h.
        heads: Must divide h.
        dropout: On both updates; attention weights have none, which takes far longer than all else of a layer.
        ratio: Inner width of the feed-forward block over h.
    """

    def __init__(self, *, width: int, heads: int, dropout: float, ratio: float = 4.0) -> None:
        super().__init__()
        self.attention = Attention(width=width, heads=heads, dropout=0.0)
        self.attention_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, round(width * ratio))
        self.contract = nn.Linear(round(width * ratio), width)
        self.output_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, context: Blocks) -> Tensor:
        """One layer.

        Args:
            queries: *Shape:* (B, Q, h)
            context: L blocks of each post.

        Returns:
            *Shape:* (B, Q, h)
        """
        states: Tensor = self.attention_norm(queries + self.dropout(attend(self.attention, queries, context)))
        inner = functional.gelu(self.expand(states))
        closed: Tensor = self.output_norm(states + self.dropout(self.contract(inner)))
        return closed


def attend(attention: Attention, queries: Tensor, context: Blocks) -> Tensor:
    """Attention to what is there; zero for a post that has nothing. *Shape:* (B, Q, h)."""
    if context.states.shape[1] == 0 or queries.shape[1] == 0:
        return torch.zeros_like(queries)
    mask = context.mask.clone()
    mask[:, 0] |= ~context.present  # attention over nothing is not a number
    return attention(queries, context.states, mask) * context.present[:, None, None].to(queries.dtype)
