"""The one attention layer and the one transformer layer that every fusion block is built from.

Pre-norm, and nothing starts at zero: zeroed output projections lie in series between a picture and H_m, so vision
would have no gradient at first and hardly any later, while the words, which need no such path, fit everything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention through PyTorch's fused kernel.

    Args:
        width: h.
        heads: Number of heads; must divide h.
        dropout: On the attention weights while training; only 0 lets the fused kernel be used then.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide the width {width}")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        with (
            torch.no_grad()
        ):  # like attends to like, as learning begins: a name in the post to that name in the caption
            self.key_value.weight[:width] = self.query.weight

    def forward(
        self,
        queries: Tensor,
        context: Tensor,
        context_mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attend from queries to context.

        Args:
            queries: *Shape:* (B, Q, h)
            context: *Shape:* (B, L, h)
            context_mask: True where context may be seen; every row needs one. *Shape:* (B, L)
            bias: Added to the attention logits. *Shape:* broadcasts to (B, heads, Q, L)

        Returns:
            *Shape:* (B, Q, h)
        """
        B, Q, h = queries.shape
        dropout = self.dropout if self.training else 0.0
        if context.shape[1] == 1 and context_mask is None and not dropout:  # a softmax over one key is 1
            alone: Tensor = self.output(self.key_value(context)[..., h:])
            return alone.expand(-1, Q, -1)
        q = self.query(queries).view(B, Q, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(context).view(B, -1, 2 * self.heads, h // self.heads).transpose(1, 2).chunk(2, dim=1)
        mask = None if context_mask is None else context_mask[:, None, None, :]
        if bias is not None:
            bias = bias.to(q.dtype)
            mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
        mixed = _mix(q, k, v, mask, dropout)
        return self.output(mixed.transpose(1, 2).reshape(B, Q, h))


def _mix(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention itself; trained on a CPU in bfloat16 it is computed in float32.

    The fused kernel's way back is several times slower in bfloat16 (benchmarks/attention_backward.py).
    """
    if not (q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu"):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    wide = mask if mask is None or mask.dtype == torch.bool else mask.float()
    with torch.autocast("cpu", enabled=False):
        return functional.scaled_dot_product_attention(
            q.float(), k.float(), v.float(), attn_mask=wide, dropout_p=dropout
        )


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, after a norm."""

    def __init__(self, *, width: int, ratio: float, dropout: float) -> None:
        super().__init__()
        inner = max(round(width * ratio), 1)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Add the block's output to its input. *Shape:* (B, L, h)."""
        return states + self.dropout(self.contract(functional.gelu(self.expand(self.norm(states)))))


class TransformerLayer(nn.Module):
    """Self-attention over a sequence and a feed-forward block."""

    def __init__(self, *, width: int, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads, dropout=dropout)
        self.feed_forward = FeedForward(width=width, ratio=ratio, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        states: Tensor,
        mask: Tensor,
        scale: Tensor | None = None,
        *,
        odds: Tensor | None = None,
        wanted: slice = slice(None),
    ) -> Tensor:
        """One layer.

        Args:
            states: *Shape:* (B, L, h)
            mask: True at real positions. *Shape:* (B, L)
            scale: Factor of each state as attention reads it, applied after the norm: before it the norm would undo
                it. *Shape:* (B, L)
            odds: Factor of each position's odds of being attended to; one must be above 0. *Shape:* (B, L)
            wanted: Positions somebody will read; the others are attended to, but not computed.

        Returns:
            The wanted positions. *Shape:* (B, L, h) when all are
        """
        normed = self.norm(states)
        if scale is not None:
            normed = normed * scale.to(normed.dtype)[..., None]
        bias = None if odds is None else odds.log()[:, None, None, :]  # odds 0: not seen at all
        update = self.attention(normed[:, wanted], normed, mask, bias)
        return self.feed_forward(states[:, wanted] + self.dropout(update))


def set_attention_dropout(module: nn.Module, rate: float) -> None:
    """Set the rate of every attention below ``module``."""
    for part in module.modules():
        if isinstance(part, Attention):
            part.dropout = rate
