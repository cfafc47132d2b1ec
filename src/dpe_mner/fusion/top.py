"""Top layer, eq. 11 to 16: token, sentence and span level meet in the spans."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.fusion.gates import GatedSum
from dpe_mner.fusion.span_aggregator import SpanAggregator
from dpe_mner.settings import FusionSettings


class TopLayer(nn.Module):
    """H_m from x_s^m, x_t^m and x_g^m.

    Args:
        width: h.
        settings: Sizes, and the switches w/o token, span and sentence level and w/o DMF of Table 2.
    """

    def __init__(self, *, width: int, settings: FusionSettings) -> None:
        super().__init__()

        def aggregator(reach: int) -> SpanAggregator:
            return SpanAggregator(
                width=width,
                heads=settings.heads,
                ratio=settings.aggregator_mlp_ratio,
                dropout=settings.dropout,
                reach=reach,
            )

        self.tokens_to_spans = aggregator(settings.relative_positions) if settings.token_level else None
        self.sentence_to_spans = aggregator(0) if settings.sentence_level else None
        self.span_level = settings.span_level
        self.aggregated_gate: nn.Module | None = None
        self.span_gate: nn.Module | None = None
        self.flat: nn.Module | None = None
        if not settings.decompose:
            parts = settings.token_level + settings.sentence_level + settings.span_level
            self.flat = nn.Linear(max(parts, 1) * width, width)
            return
        if settings.token_level and settings.sentence_level:
            self.aggregated_gate = GatedSum(width)  # W^3
        if settings.span_level and (settings.token_level or settings.sentence_level):
            self.span_gate = GatedSum(width)  # W^4

    def forward(self, x_s: Tensor, x_t: Tensor, x_t_mask: Tensor, x_g: Tensor, time: Tensor, ends: Tensor) -> Tensor:
        """Fuse.

        Args:
            x_s: x_s^m. *Shape:* (B, N, h)
            x_t: x_t^m. *Shape:* (B, M, h)
            x_t_mask: *Shape:* (B, M)
            x_g: x_g^m. *Shape:* (B, 1, h)
            time: E_t. *Shape:* (B, 1, h)
            ends: Ends of the current spans. *Shape:* (B, N, 2)

        Returns:
            H_m. *Shape:* (B, N, h)
        """
        aggregated: list[Tensor] = []
        if self.tokens_to_spans is not None:
            aggregated.append(self.tokens_to_spans(x_s, x_t, x_t_mask, ends) + time)  # eq. 11
        if self.sentence_to_spans is not None:
            aggregated.append(self.sentence_to_spans(x_s, x_g) + time)  # eq. 12
        if self.flat is not None:
            parts = [*aggregated, x_s] if self.span_level or not aggregated else aggregated
            return self.flat(torch.cat(parts, dim=-1))
        if not aggregated:
            return x_s
        mixed = self.aggregated_gate(*aggregated) if self.aggregated_gate is not None else aggregated[0]  # eq. 13, 14
        return self.span_gate(mixed, x_s) if self.span_gate is not None else mixed  # eq. 15, 16
