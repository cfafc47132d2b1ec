"""The predictor as a module of tensors only: encoder once, gamma reasoning steps inside, candidates out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.model import DPEMNERModel
from dpe_mner.reasoning.decode import step_candidates
from dpe_mner.representations.batch import Batch, PieceBatch

INPUTS = (
    "ids", "mask", "word_index", "shapes", "word_mask", "lengths", "noise",
    "caption_ids", "caption_mask", "caption_index", "caption_shapes", "tag_ids", "tag_mask", "tag_index", "tag_shapes",
    "convention",
)  # fmt: skip
OUTPUTS = ("spans", "labels", "scores")


class PredictorGraph(nn.Module):
    """What is exported.

    Args:
        model: In evaluation mode.
        steps: gamma.
    """

    def __init__(self, model: DPEMNERModel, steps: int) -> None:
        super().__init__()
        self.model = model
        self.pairs = model.noise.times(steps, power=model.settings.reasoning.time_power)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        word_index: Tensor,
        shapes: Tensor,
        word_mask: Tensor,
        lengths: Tensor,
        noise: Tensor,
        caption_ids: Tensor,
        caption_mask: Tensor,
        caption_index: Tensor,
        caption_shapes: Tensor,
        tag_ids: Tensor,
        tag_mask: Tensor,
        tag_index: Tensor,
        tag_shapes: Tensor,
        convention: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reason.

        Args:
            ids: Pieces of the posts, with mask, word index and shapes. *Shape:* (B, S)
            mask: *Shape:* (B, S)
            word_index: *Shape:* (B, S)
            shapes: *Shape:* (B, S)
            word_mask: Its width is M. *Shape:* (B, M)
            lengths: Words of each post. *Shape:* (B,)
            noise: z_T. *Shape:* (N, 2)
            caption_ids: Pieces of the captions; all masked where there is none. *Shape:* (B, K)
            caption_mask: *Shape:* (B, K)
            caption_index: Words of the pieces. *Shape:* (B, K)
            caption_shapes: *Shape:* (B, K)
            tag_ids: Pieces of the tags, likewise. *Shape:* (B, L)
            tag_mask: *Shape:* (B, L)
            tag_index: *Shape:* (B, L)
            tag_shapes: *Shape:* (B, L)
            convention: *Shape:* (B,)

        Returns:
            Candidates of each step: spans (B, gamma, N, 2), labels and scores (B, gamma, N).
        """
        model, B = self.model, lengths.shape[0]
        batch = Batch(
            text=PieceBatch(ids, mask, word_index, shapes),
            lengths=lengths,
            words=word_mask.shape[1],
            caption=PieceBatch(caption_ids, caption_mask, caption_index, caption_shapes),
            tags=PieceBatch(tag_ids, tag_mask, tag_index, tag_shapes),
            convention=convention,
        )
        text, visual = model.encode(batch)
        times = torch.tensor([t for t, _ in self.pairs])[:, None].expand(-1, B)
        context = model.prepare(batch, text, visual, times)
        z_t = model.codec.clamp(noise[None].expand(B, -1, -1))
        found, candidates = None, []
        for k, (_, t_next) in enumerate(self.pairs):
            current = model.network(context, k, model.codec.ends(z_t, lengths), found)
            candidates.append(step_candidates(current.output, model.settings.heads))
            if t_next >= 0:
                after = times.new_full((B,), t_next)
                z_t, found = model.step(z_t, current.output, times[k], after, lengths, None)
        return (
            torch.stack([c.spans for c in candidates], dim=1),
            torch.stack([c.labels for c in candidates], dim=1),
            torch.stack([c.scores for c in candidates], dim=1),
        )
