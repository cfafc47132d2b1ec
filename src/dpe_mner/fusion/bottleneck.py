"""MBT of eq. 5: text and vision exchange information through a few bottleneck tokens only (Nagrani et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.fusion.attention import TransformerLayer


class BottleneckTransformer(nn.Module):
    """Two streams and shared bottleneck tokens; the text stream is the output.

    Each stream attends to itself and to the bottleneck tokens; the two updates of those tokens are averaged after
    every layer. The last layer has no visual half: nothing would read it.

    Args:
        width: h.
        heads: Attention heads.
        layers: Text layers, at least 2 (vision reaches the bottleneck in one layer and the text in the next).
        tokens: Bottleneck tokens.
        ratio: Feed-forward width in h.
        dropout: Dropout rate.
    """

    def __init__(self, *, width: int, heads: int, layers: int, tokens: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.bottleneck = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.text_layers = nn.ModuleList(
            TransformerLayer(width=width, heads=heads, ratio=ratio, dropout=dropout) for _ in range(layers)
        )
        self.visual_layers = nn.ModuleList(
            TransformerLayer(width=width, heads=heads, ratio=ratio, dropout=dropout) for _ in range(layers - 1)
        )

    def forward(
        self, text: Tensor, text_mask: Tensor, visual: Tensor, visual_mask: Tensor, visual_scale: Tensor
    ) -> Tensor:
        """Text conditioned on vision, x_i^j.

        Args:
            text: x_i. *Shape:* (B, L, h)
            text_mask: *Shape:* (B, L)
            visual: y_j and y_jt side by side. *Shape:* (B, V, h)
            visual_mask: *Shape:* (B, V)
            visual_scale: rel^i times the weights of eq. 3: with it, ``visual`` is rel^i H_vj. *Shape:* (B, V)

        Returns:
            *Shape:* (B, L, h)
        """
        B, L, _ = text.shape
        V, tokens = visual.shape[1], self.bottleneck.shape[1]
        bottleneck = self.bottleneck.to(text.dtype).expand(B, -1, -1)
        open_tokens = text_mask.new_ones(B, tokens)
        text_mask = torch.cat([text_mask, open_tokens], dim=1)
        visual_mask = torch.cat([visual_mask, open_tokens], dim=1)
        visual_scale = torch.cat([visual_scale, visual_scale.new_ones(B, tokens)], dim=1)
        *exchanges, last = self.text_layers
        for depth, (text_layer, visual_layer) in enumerate(zip(exchanges, self.visual_layers, strict=True)):
            text_out = text_layer(torch.cat([text, bottleneck], dim=1), text_mask)
            text, from_text = text_out.split([L, tokens], dim=1)
            both = torch.cat([visual, bottleneck], dim=1)
            if depth + 1 < len(exchanges):
                visual, from_visual = visual_layer(both, visual_mask, visual_scale).split([V, tokens], dim=1)
            else:  # nobody reads the visual states any more
                from_visual = visual_layer(both, visual_mask, visual_scale, wanted=slice(V, None))
            bottleneck = (from_text + from_visual) / 2
        fused: Tensor = last(torch.cat([text, bottleneck], dim=1), text_mask, wanted=slice(L))
        return fused
