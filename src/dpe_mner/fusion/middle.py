"""Middle layer, eq. 6 to 10: coarse and fine contexts of one text level become one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.fusion.gates import GatedSum
from dpe_mner.fusion.priority import share_between


class MiddleLayer(nn.Module):
    """Scheduled and gated mixtures of x_i^c and x_i^f, and a gate between the two.

    Args:
        width: h.
        prioritize: False replaces the schedule by a concatenation (w/o PMI of Table 2).
    """

    def __init__(self, *, width: int, prioritize: bool) -> None:
        super().__init__()
        self.concatenate = None if prioritize else nn.Linear(2 * width, width)
        self.text_gate = GatedSum(width)  # W^1
        self.mixture_gate = GatedSum(width)  # W^2

    def forward(
        self, x: Tensor, x_c: Tensor, x_f: Tensor, schedule: Tensor, coarse_present: Tensor, fine_present: Tensor
    ) -> Tensor:
        """x_i^m.

        Args:
            x: x_i, returned as it is where neither grain exists. *Shape:* (B, L, h)
            x_c: *Shape:* (B, L, h)
            x_f: *Shape:* (B, L, h)
            schedule: Weight of coarse (eq. 6). *Shape:* (B,)
            coarse_present: *Shape:* (B,)
            fine_present: *Shape:* (B,)

        Returns:
            *Shape:* (B, L, h)
        """
        if self.concatenate is None:
            coarse, fine = share_between(schedule, coarse_present, fine_present)
            scheduled = coarse.to(x.dtype)[:, None, None] * x_c + fine.to(x.dtype)[:, None, None] * x_f  # eq. 6
        else:
            both = (coarse_present & fine_present)[:, None, None]
            alone = torch.where(coarse_present[:, None, None], x_c, x_f)  # one grain has nothing to stand beside
            scheduled = torch.where(both, self.concatenate(torch.cat([x_c, x_f], dim=-1)), alone)
        gated = self.text_gate(x_c, x_f)  # eq. 7, 8
        mixed = self.mixture_gate(scheduled, gated)  # eq. 9, 10
        return torch.where((coarse_present | fine_present)[:, None, None], mixed, x)
