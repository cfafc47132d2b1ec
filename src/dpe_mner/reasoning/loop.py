"""The reasoning loop: gamma passes over the spans, each starting from where the one before led (eq. 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.reasoning.network import Context, ReasoningNetwork, SpanPass
from dpe_mner.spans.codec import SpanCodec
from dpe_mner.spans.noise import NoiseProcess


@dataclass(frozen=True)
class SpanStep:
    """From the signals at t and what the network said of them to the signals at the next t (DDIM).

    Args:
        noise: Eq. 1.
        codec: Spans as signals.
        eta: 0 is deterministic.
    """

    noise: NoiseProcess
    codec: SpanCodec
    eta: float

    @torch.no_grad()
    def __call__(
        self, z_t: Tensor, output: ReasoningOutput, t: Tensor, t_next: Tensor, lengths: Tensor, drawn: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The next signals and the type beliefs the next pass may see.

        Args:
            z_t: *Shape:* (B, N, 2)
            output: Logits of the pass at t.
            t: *Shape:* (B,)
            t_next: *Shape:* (B,)
            lengths: Words of each post. *Shape:* (B,)
            drawn: Standard normal, needed when eta > 0. *Shape:* (B, N, 2)

        Returns:
            *Shapes:* (B, N, 2) and (B, N, C)
        """
        z_0 = self.codec.encode(predicted_spans(output), lengths)
        stepped = self.noise.step(z_t, z_0, t, t_next, eta=self.eta, noise=drawn)
        return self.codec.clamp(stepped), output.types.softmax(-1)


def predicted_spans(output: ReasoningOutput) -> Tensor:
    """z_0 as words: the most probable first and last word of each span. *Shape:* (B, N, 2)."""
    return torch.stack([output.left.argmax(-1), output.right.argmax(-1)], dim=-1)


def run_steps(
    network: ReasoningNetwork,
    context: Context,
    step: SpanStep,
    z_t: Tensor,
    lengths: Tensor,
    pairs: Sequence[tuple[int, int]],
    *,
    draw: Callable[[], Tensor | None],
    early_exit: bool = False,
) -> list[SpanPass]:
    """All passes.

    Args:
        network: AMRN.
        context: What no span changes, for the times of ``pairs``.
        step: Between two passes.
        z_t: Starting signals. *Shape:* (B, N, 2)
        lengths: Words of each post. *Shape:* (B,)
        pairs: (t, next t) of each step.
        draw: Gives the noise of one step, the same for every post. *Shape:* (N, 2)
        early_exit: A post whose spans and classes are those of the step before takes no further step; each later
            step repeats its last pass. Decided post by post, so its company does not matter.

    Returns:
        One pass a step.
    """
    passes: list[SpanPass] = []
    active: Tensor | None = None  # rows still moving; None: all of them
    beliefs: Tensor | None = None
    for k, (t, t_next) in enumerate(pairs):
        current = network(context, k, step.codec.ends(z_t, lengths), beliefs)
        passes.append(current if active is None else _replace_rows(passes[-1], active, current))
        if t_next < 0:
            break
        drawn = draw()
        B = z_t.shape[0]
        noise = None if drawn is None else drawn.to(z_t.device).expand(B, -1, -1)
        now, after = lengths.new_full((B,), t), lengths.new_full((B,), t_next)
        z_t, beliefs = step(z_t, current.output, now, after, lengths, noise)
        if not early_exit or k == 0:
            continue
        moving = _moved(passes[-2], passes[-1])
        rows = torch.arange(len(moving), device=moving.device) if active is None else active
        kept = moving[rows].nonzero().squeeze(-1)
        if len(kept) == 0:
            passes.extend([passes[-1]] * (len(pairs) - k - 1))
            break
        if len(kept) < B:
            active, context = rows[kept], context.rows(kept)
            z_t, beliefs, lengths = z_t[kept], beliefs[kept], lengths[kept]
    return passes


def _moved(before: SpanPass, after: SpanPass) -> Tensor:
    """Posts of which a span with an entity class, before or after, changed. *Shape:* (B,)."""
    kinds = [p.output.types.argmax(-1) for p in (before, after)]
    spans = [predicted_spans(p.output) for p in (before, after)]
    changed = (kinds[0] != kinds[1]) | ((spans[0] != spans[1]).any(-1) & (kinds[1] > 0))
    return changed.any(-1)


def _replace_rows(previous: SpanPass, rows: Tensor, current: SpanPass) -> SpanPass:
    def merged(old: Tensor, new: Tensor) -> Tensor:
        return old.index_copy(0, rows, new.to(old.dtype))

    old, new = previous.output, current.output
    tags = None if old.tags is None or new.tags is None else merged(old.tags, new.tags)
    table = None if old.table is None or new.table is None else merged(old.table, new.table)
    output = ReasoningOutput(
        merged(old.left, new.left), merged(old.right, new.right), merged(old.types, new.types), tags, table
    )
    return SpanPass(
        output,
        merged(previous.pooled_spans, current.pooled_spans),
        merged(previous.relevance, current.relevance),
        merged(previous.x_s, current.x_s),
    )
