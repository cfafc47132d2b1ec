"""Noise process of eq. 1 and the DDIM sampler that walks it backwards. Neither knows the network.

Letters: ``alpha_t`` is the cumulative product of ``1 - beta``; it is near 1 at t = 0 and near 0 at t = T - 1.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from dpe_mner.ranks import drawn


def cumulative_alpha(timesteps: int) -> Tensor:
    """alpha_t for t = 0 .. T-1, the cosine schedule (Nichol and Dhariwal 2021; offset 0.008, beta at most 0.999).

    Args:
        timesteps: T.

    Returns:
        *Shape:* (T,), float64.
    """
    grid = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    curve = torch.cos((grid + 0.008) / 1.008 * math.pi / 2) ** 2
    beta = (1 - curve[1:] / curve[:-1]).clamp(0, 0.999)
    return torch.cumprod(1 - beta, dim=0)


class NoiseProcess:
    """Forward process q(z_t | z_0) of eq. 1 and the reverse DDIM step.

    Args:
        timesteps: T.
    """

    def __init__(self, *, timesteps: int) -> None:
        self.timesteps = timesteps
        self.alpha = cumulative_alpha(timesteps).to(torch.float32)
        # Reasoning starts from noise alone, so at T-1 training must know no more: neither of the gold spans, nor of
        # what eq. 3 keeps for later (a terminal signal of zero; Lin et al. 2024).
        self.alpha[-1] = 0.0
        self.alpha[0] = 1.0  # eq. 1 at t = 0 is z_0 itself, and there the easy part of eq. 3 has had its time

    def signal_share(self, t: Tensor) -> Tensor:
        """S = sqrt(alpha_t), and exactly 1 for t = -1 (the end of reasoning). *Shape:* as ``t``."""
        alpha = self.alpha.to(t.device)
        return torch.where(t < 0, torch.ones((), device=t.device), alpha[t.clamp(min=0)]).sqrt()

    def add_noise(self, z_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """z_t = sqrt(alpha_t) z_0 + sqrt(1 - alpha_t) noise (eq. 1).

        Args:
            z_0: *Shape:* (B, N, 2)
            t: *Shape:* (B,)
            noise: Standard normal. *Shape:* (B, N, 2)

        Returns:
            *Shape:* (B, N, 2)
        """
        s = self.signal_share(t)[:, None, None]
        return s * z_0 + (1 - s**2).clamp(min=0).sqrt() * noise

    def times(self, steps: int, *, power: float = 1.0) -> list[tuple[int, int]]:
        """The (t, next t) pairs of gamma reasoning steps; the last next t is -1, where nothing is noisy.

        ``power`` 1 spaces the times evenly; above 1 the later steps come at lower noise.
        """
        if steps < 1:
            raise ValueError("reasoning needs at least one step")
        if steps > self.timesteps:
            raise ValueError(f"at most {self.timesteps} reasoning steps, got {steps}")
        grid = [(1 - k / steps) ** power for k in range(steps)]
        visited = [round(g * self.timesteps) - 1 for g in grid]
        visited = [max(t, 0) for t in visited]
        return list(zip(visited, [*visited[1:], -1], strict=True))

    def training_times(
        self,
        lengths: Tensor,
        passes: int,
        pure_share: float,
        generator: torch.Generator | None,
        *,
        power: float = 1.0,
    ) -> Tensor:
        """T of every training pass: as reasoning in so many steps visits them, or uniform, each below the one before.

        Args:
            lengths: Of the posts; tells only how many there are, and where. *Shape:* (B,)
            passes: P, from each to the next as in reasoning.
            pure_share: Chance that a post's passes are those of reasoning, the first at T-1.
            generator: On the device of ``lengths``.
            power: Of :meth:`times`.

        Returns:
            *Shape:* (P, B)
        """
        B, device = len(lengths), lengths.device
        draw = partial(drawn, shape=(B,), generator=generator, device=device)
        uniform = [draw(partial(torch.randint, self.timesteps))]
        pure = draw(torch.rand) < pure_share
        for _ in range(passes - 1):
            uniform.append((draw(torch.rand) * uniform[-1]).to(torch.int64))
        visited = [t for t, _ in self.times(passes, power=power)]
        return torch.stack([torch.where(pure, t, other) for t, other in zip(visited, uniform, strict=True)])

    def step(
        self, z_t: Tensor, z_0: Tensor, t: Tensor, t_next: Tensor, *, eta: float = 0.0, noise: Tensor | None = None
    ) -> Tensor:
        """One DDIM step (Song et al. 2021, eq. 12) from t to t_next given a prediction of z_0.

        Args:
            z_t: Current signals. *Shape:* (B, N, 2)
            z_0: Predicted clean signals. *Shape:* (B, N, 2)
            t: *Shape:* (B,)
            t_next: *Shape:* (B,), -1 for the end.
            eta: 0 is deterministic, 1 adds the full posterior noise.
            noise: Standard normal, needed when ``eta`` > 0. *Shape:* (B, N, 2)

        Returns:
            Signals at t_next; z_0 itself where t_next is -1. *Shape:* (B, N, 2)
        """
        a = self.signal_share(t)[:, None, None] ** 2
        a_next = self.signal_share(t_next)[:, None, None] ** 2
        predicted_noise = (z_t - a.sqrt() * z_0) / (1 - a).clamp(min=1e-8).sqrt()
        variance = (1 - a_next) / (1 - a).clamp(min=1e-8) * (1 - a / a_next)
        sigma = eta * variance.clamp(min=0).sqrt()
        stepped = a_next.sqrt() * z_0 + (1 - a_next - sigma**2).clamp(min=0).sqrt() * predicted_noise
        if eta > 0:
            if noise is None:
                raise ValueError("eta > 0 needs noise")
            stepped = stepped + sigma * noise
        return torch.where((t_next < 0)[:, None, None], z_0, stepped)


def starting_noise(spans: int, *, start: str, generator: torch.Generator) -> Tensor:
    """z_T of N spans, the same for every post: it depends on the generator only.

    Args:
        spans: N.
        start: ``gaussian`` draws independently; ``quasi`` pushes a scrambled Sobol sequence through the normal
            quantile, which covers the post more evenly with few spans.
        generator: Source of randomness.

    Returns:
        *Shape:* (N, 2)
    """
    if start == "gaussian":
        return torch.randn(spans, 2, generator=generator)
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    uniform = torch.quasirandom.SobolEngine(2, scramble=True, seed=seed).draw(spans, dtype=torch.float64)
    return (math.sqrt(2) * torch.erfinv(2 * uniform.clamp(1e-6, 1 - 1e-6) - 1)).to(torch.float32)
