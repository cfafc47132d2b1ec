"""Training by several processes (ranks), each with its share of the posts of one batch.

One batch on several ranks gives the gradients it gives on one: every rank computes its own posts' share of the loss of
the whole batch, divided by counts of the whole batch, and draws are those of the whole batch. The sum of the shares is
the loss; its gradient is the sum of the ranks'. On one process nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from dpe_mner.errors import InputError


def begin() -> None:
    """Meet the other processes that ``torchrun`` or ``accelerate launch`` started."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def refuse(what: str) -> None:
    """For what only one process can do.

    Raises:
        InputError: If several were started.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1:
        raise InputError(f"{what} runs in one process, and {started} were started; start it without a launcher")


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0; the first one writes."""
    return distributed.get_rank() if size() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes and tells."""
    return rank() == 0


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process goes through the block before the others, who find what it wrote."""
    if size() > 1 and not is_first():
        distributed.barrier()
    yield
    if size() > 1 and is_first():
        distributed.barrier()


def meet() -> None:
    """Wait until all are here."""
    if size() > 1:
        distributed.barrier()


def total(count: Tensor) -> Tensor:
    """Sum of a number over the ranks; no gradient passes. *Shape:* any."""
    if size() == 1:
        return count
    summed = count.detach().clone()
    distributed.all_reduce(summed)
    return summed


def largest(number: Tensor) -> Tensor:
    """The largest of the ranks' numbers, one by one. *Shape:* any."""
    if size() == 1:
        return number
    found = number.detach().clone()
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return found


def told_by_first(number: float, device: torch.device) -> float:
    """A number that only the first process knows."""
    if size() == 1:
        return number
    told = torch.tensor(number, dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)


def gathered(states: Tensor) -> Tensor:
    """Rows of all ranks, in their order; gradients go back to the rank a row came from.

    Args:
        states: As many rows on each rank. *Shape:* (B, ...)

    Returns:
        *Shape:* (ranks * B, ...)
    """
    if size() == 1:
        return states
    found: Tensor = _Gather.apply(states)
    return found


def own(rows: int, device: torch.device) -> Tensor:
    """Which of the gathered rows are this rank's. *Shape:* (rows,)."""
    each = rows // size()
    number = torch.arange(rows, device=device)
    return (number >= rank() * each) & (number < (rank() + 1) * each)


def drawn(
    how: Callable[..., Tensor], shape: Sequence[int], *, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Random numbers of this rank's posts, which are the first dimension.

    Drawn for the posts of all ranks, so that a post has the same numbers however many processes there are.

    Args:
        how: ``torch.rand`` or another that takes a shape.
        shape: Of this rank's.
        generator: In the same state on every rank.
        device: Of the generator.
    """
    B, *rest = shape
    everyone: Tensor = how((size() * B, *rest), generator=generator, device=device)
    return everyone[rank() * B : (rank() + 1) * B]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, states: Tensor) -> Tensor:
        parts = [torch.empty_like(states) for _ in range(size())]
        distributed.all_gather(parts, states.contiguous())
        context.rows = len(states)
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        distributed.all_reduce(summed)
        start = rank() * context.rows
        return summed[start : start + context.rows]
