"""Hungarian matching of N predicted spans to the gold entities of a post (2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.representations.batch import GoldSpans


@dataclass(frozen=True)
class HungarianMatcher:
    """Assign gold spans to predictions at the least summed cost.

    Without ``reach``, gold spans are repeated and shared out by cost alone (the paper's way): which prediction
    answers for which gold span, or for none, is then partly arbitrary. With it the answer is a matter of place:
    every gold span gets one prediction by cost, and every other prediction answers for the gold span near its
    anchor, or for "no entity" when there is none near.

    Args:
        share: Share of the N predictions that answer for repeated gold spans; the rest answer "no entity".
        reach: Words from the anchor to the gold span at most.
    """

    share: float = 1.0
    reach: int | None = None

    @torch.no_grad()
    def __call__(self, output: ReasoningOutput, gold: GoldSpans, anchors: Tensor | None = None) -> Tensor:
        """Gold index of every prediction.

        Args:
            output: Logits of one pass.
            gold: Up to E gold spans a post.
            anchors: The word each span looks at; needed with ``reach``. *Shape:* (B, N)

        Returns:
            *Shape:* (B, N), -1 where a prediction answers "no entity".
        """
        cost = matching_cost(output, gold)
        if self.reach is None:
            return self._solve(cost, gold, None)
        assert anchors is not None
        distance = anchor_distance(anchors, gold)
        nearest = distance.min(-1)
        near = torch.where(nearest.values <= self.reach, nearest.indices, -1)
        return self._solve(cost + distance.clamp(max=1e4), gold, near)

    def _solve(self, cost: Tensor, gold: GoldSpans, others: Tensor | None) -> Tensor:
        """Solve one assignment a post; predictions left over keep ``others``, or -1."""
        from scipy.optimize import linear_sum_assignment  # half a second that only training needs

        costs, counts = cost.cpu().numpy(), gold.count.cpu().numpy()
        B, N, _ = costs.shape
        assigned = np.full((B, N), -1, dtype=np.int64) if others is None else others.cpu().numpy().copy()
        for post in np.flatnonzero(counts):  # scipy solves one post a call
            columns = self._columns(int(counts[post]), N)
            rows, chosen = linear_sum_assignment(costs[post][:, columns])
            assigned[post, rows] = columns[chosen]
        return torch.from_numpy(assigned).to(cost.device)

    def _columns(self, count: int, spans: int) -> np.ndarray:
        """Gold indices, each as often as predictions answer for it. More gold than spans: all, scipy takes N."""
        if self.reach is not None:
            return np.arange(count)
        wanted = max(round(spans * self.share), count)
        return np.arange(wanted) % count


def anchor_distance(anchors: Tensor, gold: GoldSpans) -> Tensor:
    """Words from each anchor to each gold span, 0 inside it; huge for padding. *Shape:* (B, N, E), float."""
    word = anchors[..., None]
    first, last = gold.spans[:, None, :, 0], gold.spans[:, None, :, 1]
    distance = torch.maximum(first - word, word - last).clamp(min=0).to(torch.float32)
    real = torch.arange(gold.spans.shape[1], device=anchors.device) < gold.count[:, None]
    return distance.masked_fill(~real[:, None], 1e6)


def matching_cost(output: ReasoningOutput, gold: GoldSpans) -> Tensor:
    """-log p of each gold span's left, right and class under each prediction, on the device in one piece.

    Returns:
        *Shape:* (B, N, E)
    """
    left = output.left.log_softmax(-1)
    right = output.right.log_softmax(-1)
    types = output.types.log_softmax(-1)

    def at(log_p: Tensor, index: Tensor) -> Tensor:
        return torch.gather(log_p, 2, index[:, None, :].expand(-1, log_p.shape[1], -1))

    total = at(left, gold.spans[..., 0]) + at(right, gold.spans[..., 1]) + at(types, gold.labels)
    return -total.clamp(min=-1e4)
