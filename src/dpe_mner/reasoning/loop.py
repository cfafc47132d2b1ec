"""The reasoning loop: gamma passes over the spans, each starting from where the one before led (eq. 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpe_mner.diffusion.codec import SpanCodec
from dpe_mner.diffusion.noise import NoiseProcess
from dpe_mner.reasoning.found import Found, found_entities
from dpe_mner.reasoning.heads import ReasoningOutput, predicted_spans
from dpe_mner.reasoning.network import Context, ReasoningNetwork, SpanPass


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
    ) -> tuple[Tensor, Found]:
        """The next signals, and what the next pass may know of what was found.

        Args:
            z_t: *Shape:* (B, N, 2)
            output: Logits of the pass at t.
            t: *Shape:* (B,)
            t_next: *Shape:* (B,)
            lengths: Words of each post. *Shape:* (B,)
            drawn: Standard normal, needed when eta > 0. *Shape:* (B, N, 2)

        Returns:
            Signals (B, N, 2), and the found entities.
        """
        z_0 = self.codec.encode(predicted_spans(output), lengths)
        stepped = self.noise.step(z_t, z_0, t, t_next, eta=self.eta, noise=drawn)
        return self.codec.clamp(stepped), found_entities(output)


def run_steps(
    network: ReasoningNetwork,
    context: Context,
    step: SpanStep,
    z_t: Tensor,
    lengths: Tensor,
    pairs: Sequence[tuple[int, int]],
    *,
    draw: Callable[[], Tensor | None],
) -> list[SpanPass]:
    """All passes.

    Args:
        network: AMRN.
        context: What no span changes, for the times of ``pairs``.
        step: Between two passes.
        z_t: Starting signals. *Shape:* (B, N, 2)
        lengths: Words of each post. *Shape:* (B,)
        pairs: (t, next t) of each step.
        draw: Gives the noise of one step, the same for every post; None without noise. *Shape:* (N, 2)

    Returns:
        One pass a step.
    """
    passes: list[SpanPass] = []
    found: Found | None = None
    for k, (t, t_next) in enumerate(pairs):
        current = network(context, k, step.codec.ends(z_t, lengths), found)
        passes.append(current)
        if t_next < 0:
            break
        drawn = draw()
        B = z_t.shape[0]
        noise = None if drawn is None else drawn.to(z_t.device).expand(B, -1, -1)
        now, after = lengths.new_full((B,), t), lengths.new_full((B,), t_next)
        z_t, found = step(z_t, current.output, now, after, lengths, noise)
    return passes
