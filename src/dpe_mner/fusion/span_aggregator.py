"""SpanAggr: spans look at one another, then at a text context (2.2.1, eq. 11 and 12)."""

from __future__ import annotations

from torch import Tensor, nn

from dpe_mner.fusion.attention import Attention, FeedForward


class SpanAggregator(nn.Module):
    """A self-attention over the spans and a cross-attention to words or to the sentence.

    Args:
        width: h.
        heads: Attention heads.
        ratio: Width of a feed-forward block after them, in h; 0 leaves it out, as the paper does.
        dropout: Dropout rate.
    """

    def __init__(self, *, width: int, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width=width, heads=heads, dropout=dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.context_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width=width, heads=heads, dropout=dropout)
        self.feed_forward = FeedForward(width=width, ratio=ratio, dropout=dropout) if ratio else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, spans: Tensor, context: Tensor, context_mask: Tensor | None = None) -> Tensor:
        """Aggregate.

        Args:
            spans: *Shape:* (B, N, h)
            context: x_t, x_t^m or x_g^m. *Shape:* (B, M or 1, h)
            context_mask: *Shape:* (B, M or 1)

        Returns:
            *Shape:* (B, N, h)
        """
        normed = self.self_norm(spans)
        spans = spans + self.dropout(self.self_attention(normed, normed))
        seen = self.cross_attention(self.cross_norm(spans), self.context_norm(context), context_mask)
        return self.feed_forward(spans + self.dropout(seen))
