"""Static fusion, the comparison of Table 3: text meets vision once, and the result holds for all reasoning steps.

No schedule, no relevance, nothing over spans. All four strategies leave a post without vision exactly as it is.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dpe_mner.fusion.attention import Attention
from dpe_mner.fusion.relevance import masked_mean
from dpe_mner.fusion.text_level import VisualGrains
from dpe_mner.fusion.visual import VisualStates
from dpe_mner.settings import GRAINS, FusionSettings

REPRESENTATIONS = 4  # y_c, y_ct, y_f, y_ft


class StaticFusion(nn.Module):
    """Fuse x_t or x_g with the visual representations.

    ``max-pool`` and ``mean-pool``: each representation becomes one vector, and the text attends to the four.
    ``mlp``: the four mean vectors stand beside every text state before two linear layers.
    ``moe``: one attention over each representation is an expert; a gate that sees text and picture mixes those present.

    Args:
        width: h.
        settings: Fusion settings; ``strategy`` is not ``dynamic``.
    """

    def __init__(self, *, width: int, settings: FusionSettings) -> None:
        super().__init__()
        self.strategy = settings.strategy
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)
        experts = {"moe": REPRESENTATIONS, "mlp": 0}.get(self.strategy, 1)
        self.attentions = nn.ModuleList(
            Attention(width=width, heads=settings.heads, dropout=settings.dropout) for _ in range(experts)
        )
        self.gate = nn.Linear(2 * width, 1) if self.strategy == "moe" else None
        self.mlp: nn.Sequential | None = None
        if self.strategy == "mlp":
            self.mlp = nn.Sequential(
                nn.Linear((1 + REPRESENTATIONS) * width, width), nn.GELU(), nn.Linear(width, width)
            )

    def forward(self, x: Tensor, x_mask: Tensor, visual: VisualGrains) -> Tensor:
        """Fuse.

        Args:
            x: x_t or x_g. *Shape:* (B, L, h)
            x_mask: *Shape:* (B, L)
            visual: y_c, y_ct, y_f, y_ft.

        Returns:
            *Shape:* (B, L, h)
        """
        parts = [states for j in GRAINS for states in (visual[j].image, visual[j].image2text)]
        present = torch.stack([part.present for part in parts], dim=1)  # (B, 4)
        if not any(part.mask.shape[1] for part in parts):
            return x
        text = self.norm(x)
        if self.mlp is not None:
            pooled = torch.cat([part.pooled for part in parts], dim=-1)
            update = self.mlp(torch.cat([text, pooled[:, None].expand(-1, x.shape[1], -1)], dim=-1))
        elif self.gate is not None:
            update = self._experts(text, masked_mean(text, x_mask), parts, present, self.gate)
        else:
            pool = _masked_max if self.strategy == "max-pool" else masked_mean
            pooled = torch.stack([pool(part.states, part.mask) for part in parts], dim=1)  # (B, 4, h)
            update = self._attention(0)(text, pooled, _one_open(present))
        return torch.where(present.any(1)[:, None, None], x + self.dropout(update), x)

    def _experts(
        self, text: Tensor, pooled_text: Tensor, parts: list[VisualStates], present: Tensor, gate: nn.Linear
    ) -> Tensor:
        pictures = torch.stack([part.pooled for part in parts], dim=1)
        scores = gate(torch.cat([pooled_text[:, None].expand_as(pictures), pictures], dim=-1)).squeeze(-1)
        shares = scores.float().masked_fill(~_one_open(present), float("-inf")).softmax(-1).to(text.dtype)  # (B, 4)
        update = torch.zeros_like(text)
        for expert, part in enumerate(parts):  # four of them, whatever the batch
            if part.mask.shape[1]:
                seen = self._attention(expert)(text, part.states, _one_open(part.mask))
                update = update + shares[:, expert, None, None] * part.present.to(seen.dtype)[:, None, None] * seen
        return update

    def _attention(self, index: int) -> Attention:
        return cast(Attention, self.attentions[index])


def _one_open(mask: Tensor) -> Tensor:
    """The mask, with rows that are closed throughout opened: attention over nothing is not a number."""
    return mask | ~mask.any(dim=1, keepdim=True)


def _masked_max(states: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the real positions, zero where there is none. *Shapes:* (B, L, h), (B, L) -> (B, h)."""
    if mask.shape[1] == 0:
        return states.new_zeros(states.shape[0], states.shape[2])
    largest = states.masked_fill(~mask[..., None], float("-inf")).amax(1)
    return torch.where(mask.any(1)[:, None], largest, states.new_zeros(()))
