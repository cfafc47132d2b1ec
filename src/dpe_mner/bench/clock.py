"""Fair timing: everything that is compared runs in turn, several times, and medians are kept."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]


def in_turns(works: Mapping[str, Work], *, repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each work; a drifting machine touches all alike because they take turns.

    Args:
        works: What to time, by name; each runs once before the clock starts.
        repeats: Rounds.
        device: Waited for, when it computes asynchronously.
    """
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            wait_for(device)
            started = time.perf_counter()
            work()
            wait_for(device)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def wait_for(device: torch.device) -> None:
    """Until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(round(share * (len(ordered) - 1)), len(ordered) - 1)]
