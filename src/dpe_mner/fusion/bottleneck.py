"""MBT of eq. 5: text and vision exchange information through a few bottleneck tokens only (Nagrani et al. 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dpe_mner.fusion.attention import TransformerLayer

ReadingOrder = Literal["parallel", "text-first"]


LAYERS, TOKENS = 2, 4  # with one layer no picture would reach the text stream; the paper names neither number


class BottleneckTransformer(nn.Module):
    """Two streams and shared bottleneck tokens; the text stream is the output.

    Each stream attends to itself and to the bottleneck tokens. ``parallel``: both streams update the tokens side by
    side and the two updates are averaged, as published; the first time a token looks at the picture it knows no text,
    so it asks every post's picture the same. ``text-first``: the tokens go through the text layer, then through the
    visual one, then back to the text, and ask for what the text needs. The last layer has no visual half: nothing
    would read it.

    Args:
        width: h.
        heads: Attention heads.
        ratio: Feed-forward width in h.
        dropout: Dropout rate.
        order: ``parallel`` or ``text-first``.
        layers: Text layers, at least 2 (vision reaches the bottleneck in one layer and the text in the next).
        tokens: Bottleneck tokens.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        ratio: float,
        dropout: float,
        order: ReadingOrder,
        layers: int = LAYERS,
        tokens: int = TOKENS,
    ) -> None:
        super().__init__()
        self.order = order
        self.bottleneck = nn.Parameter(torch.randn(1, tokens, width) * (0.02 if order == "parallel" else 1.0))
        self.text_layers = nn.ModuleList(
            TransformerLayer(width=width, heads=heads, ratio=ratio, dropout=dropout) for _ in range(layers)
        )
        self.visual_layers = nn.ModuleList(
            TransformerLayer(width=width, heads=heads, ratio=ratio, dropout=dropout) for _ in range(layers - 1)
        )

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        visual: Tensor,
        visual_mask: Tensor,
        *,
        scale: Tensor | None = None,
        odds: Tensor | None = None,
    ) -> Tensor:
        """Text conditioned on vision, x_i^j.

        Args:
            text: x_i. *Shape:* (B, L, h)
            text_mask: *Shape:* (B, L)
            visual: y_j and y_jt side by side. *Shape:* (B, V, h)
            visual_mask: *Shape:* (B, V)
            scale: Factor of each visual state: rel^i times the weights of eq. 3. *Shape:* (B, V)
            odds: Instead, factor of each visual position's odds of being attended to. *Shape:* (B, V)

        Returns:
            *Shape:* (B, L, h)
        """
        B, L, _ = text.shape
        V, tokens = visual.shape[1], self.bottleneck.shape[1]
        bottleneck = self.bottleneck.to(text.dtype).expand(B, -1, -1)
        open_tokens = text_mask.new_ones(B, tokens)
        text_mask = torch.cat([text_mask, open_tokens], dim=1)
        visual_mask = torch.cat([visual_mask, open_tokens], dim=1)
        scale, odds = _for_tokens_too(scale, tokens), _for_tokens_too(odds, tokens)
        *exchanges, last = self.text_layers
        for depth, (text_layer, visual_layer) in enumerate(zip(exchanges, self.visual_layers, strict=True)):
            text_out = text_layer(torch.cat([text, bottleneck], dim=1), text_mask)
            text, from_text = text_out.split([L, tokens], dim=1)
            asking = bottleneck if self.order == "parallel" else from_text
            both = torch.cat([visual, asking], dim=1)
            if depth + 1 < len(exchanges):
                read = visual_layer(both, visual_mask, scale, odds=odds)
                visual, from_visual = read.split([V, tokens], dim=1)
            else:  # nobody reads the visual states any more
                from_visual = visual_layer(both, visual_mask, scale, odds=odds, wanted=slice(V, None))
            bottleneck = (from_text + from_visual) / 2 if self.order == "parallel" else from_visual
        fused: Tensor = last(torch.cat([text, bottleneck], dim=1), text_mask, wanted=slice(L))
        return fused


def _for_tokens_too(factors: Tensor | None, tokens: int) -> Tensor | None:
    """Factors of visual positions, and 1 for the bottleneck tokens after them."""
    if factors is None:
        return None
    return torch.cat([factors, factors.new_ones(factors.shape[0], tokens)], dim=1)
