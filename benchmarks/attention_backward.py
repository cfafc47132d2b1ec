"""What the fused attention kernel costs in bfloat16 on a CPU, as a ratio to float32, forth and back.

    python benchmarks/attention_backward.py

The sizes are those of fusion with a batch of 16 posts: 24 spans over 40 words, and a sequence of 104 over itself. The
figure is the median over rounds of the ratio within a round.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Annotated

import torch
import typer
from torch.nn import functional

SIZES = ((16, 8, 24, 40, 32), (16, 8, 104, 104, 32))  # posts, heads, queries, keys, width of a head


def seconds(sizes: tuple[int, int, int, int, int], dtype: torch.dtype, *, repeats: int = 10) -> float:
    """Time of one forward and backward pass.

    Args:
        sizes: Posts, heads, queries, keys, width of a head.
        dtype: Of queries, keys and values.
        repeats: Passes timed together.
    """
    B, heads, Q, L, width = sizes
    q, k, v = (torch.randn(B, heads, n, width, dtype=dtype, requires_grad=True) for n in (Q, L, L))
    mask = torch.ones(B, 1, 1, L, dtype=torch.bool)
    started = time.perf_counter()
    for _ in range(repeats):
        functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).sum().backward()
    return (time.perf_counter() - started) / repeats


def main(rounds: Annotated[int, typer.Option(help="The figure is their median.")] = 7) -> None:
    """Print the ratio for each size."""
    torch.manual_seed(0)
    for sizes in SIZES:
        seconds(sizes, torch.bfloat16)  # the first pass allocates
        ratios = [seconds(sizes, torch.bfloat16) / seconds(sizes, torch.float32) for _ in range(rounds)]
        print(f"{sizes}: bfloat16 takes {median(ratios):.1f} times float32's time")


if __name__ == "__main__":
    typer.run(main)
