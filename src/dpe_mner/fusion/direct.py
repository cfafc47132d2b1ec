"""The other way for text to read vision in eq. 5: every text position looks at the visual ones itself.

Nagrani et al. 2021 compare their bottleneck with full attention between the streams; this is its text half. What a
position needs of the picture does not have to fit through tokens that all positions share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.fusion.attention import TransformerLayer


class DirectTransformer(nn.Module):
    """Layers in which the text attends to itself and to vision at once; the visual states stay as they are.

    Args:
        width: h.
        heads: Attention heads.
        ratio: Feed-forward width in h.
        dropout: Dropout rate.
        layers: At least 1.
    """

    def __init__(self, *, width: int, heads: int, ratio: float, dropout: float, layers: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(width=width, heads=heads, ratio=ratio, dropout=dropout) for _ in range(layers)
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
        L = text.shape[1]
        mask = torch.cat([text_mask, visual_mask], dim=1)
        scale, odds = (_beside_text(factors, text_mask) for factors in (scale, odds))
        for layer in self.layers:
            text = layer(torch.cat([text, visual], dim=1), mask, scale, odds=odds, wanted=slice(L))
        return text


def _beside_text(factors: Tensor | None, text_mask: Tensor) -> Tensor | None:
    """1 for each text position, then the factors of visual ones."""
    if factors is None:
        return None
    return torch.cat([factors.new_ones(text_mask.shape), factors], dim=1)
