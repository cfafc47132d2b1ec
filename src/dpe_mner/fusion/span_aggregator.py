"""SpanAggr: spans look at one another, then at a text context (2.2.1, eq. 11 and 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.fusion.attention import Attention, FeedForward


class SpanAggregator(nn.Module):
    """A self-attention over the spans and a cross-attention to words or to the sentence.

    Args:
        width: h.
        heads: Attention heads.
        ratio: Width of a feed-forward block after them, in h; 0 leaves it out, as the paper does.
        dropout: Dropout rate.
        reach: The cross-attention sees how far each word is from the span's two ends, up to this many words; 0: it
            does not, as in the paper.
    """

    def __init__(self, *, width: int, heads: int, ratio: float, dropout: float, reach: int = 0) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width=width, heads=heads, dropout=dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.context_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width=width, heads=heads, dropout=dropout)
        self.positions = RelativePositions(heads=heads, reach=reach) if reach else None
        self.feed_forward = FeedForward(width=width, ratio=ratio, dropout=dropout) if ratio else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, spans: Tensor, context: Tensor, context_mask: Tensor | None = None, ends: Tensor | None = None
    ) -> Tensor:
        """Aggregate.

        Args:
            spans: *Shape:* (B, N, h)
            context: x_t, x_t^m or x_g^m. *Shape:* (B, M or 1, h)
            context_mask: *Shape:* (B, M or 1)
            ends: Ends of the spans as they stand, when the context is the words. *Shape:* (B, N, 2)

        Returns:
            *Shape:* (B, N, h)
        """
        normed = self.self_norm(spans)
        spans = spans + self.dropout(self.self_attention(normed, normed))
        bias = self.positions(ends, context.shape[1]) if self.positions is not None and ends is not None else None
        seen = self.cross_attention(self.cross_norm(spans), self.context_norm(context), context_mask, bias)
        return self.feed_forward(spans + self.dropout(seen))


class RelativePositions(nn.Module):
    """Relative position biases of the attention from spans to words (Shaw et al. 2018; start values as ALiBi's).

    The mean of a span's words says what they mean but only weakly where they are; with these a head can look at the
    first word, at the word after the last, or around the span.

    Args:
        heads: Attention heads; a quarter of them start without a slope, the others fall off ever faster.
        reach: Distances beyond this many words share one bias.
    """

    def __init__(self, *, heads: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        slopes = torch.tensor([0.0 if head % 4 == 0 else 2.0 ** (head % 4 - 2) for head in range(heads)])
        distance = torch.arange(-reach, reach + 1).abs()
        # The first end is the one the matching goes by; what the second one adds is learned.
        self.bias = nn.Parameter(torch.stack([-slopes[:, None] * distance, torch.zeros(heads, 2 * reach + 1)]))

    def forward(self, ends: Tensor, words: int) -> Tensor:
        """Biases. *Shape:* (B, N, 2) -> (B, heads, N, M)."""
        place = torch.arange(words, device=ends.device)
        distance = (place - ends[..., None]).clamp(-self.reach, self.reach) + self.reach  # (B, N, 2, M)
        first, second = self.bias[0][:, distance[:, :, 0]], self.bias[1][:, distance[:, :, 1]]
        return (first + second).transpose(0, 1)
