"""Which examples make a batch: of like length, and of every source of data its share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

_STRETCH = 50  # batches that are sorted by length together


class LengthGroupedBatches(Sampler[int]):
    """Shuffled examples in which neighbours have like lengths, so that batches carry little padding.

    The order of an epoch depends on the seed and the epoch's number alone: a resumed run meets the same batches.

    Args:
        lengths: Of the examples.
        batch_size: Examples of a batch.
        seed: Of the shuffling.
        epoch: Gives the number of the epoch that begins.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 7919 + self.epoch())
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


class SharedBatches(Sampler[int]):
    """Batches in which every source has its share, of like length within each.

    An epoch is as many examples as there are. A source whose share is larger than its part of them is met more than
    once, shuffled anew each time; of one whose share is smaller an epoch meets a part. The order depends on the seed
    and the epoch's number alone.

    Args:
        lengths: Of the examples.
        sources: Number of the source of each example.
        shares: Of each source; they sum to 1.
        batch_size: Examples of a batch.
        seed: Of the shuffling.
        epoch: Gives the number of the epoch that begins.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        sources: Sequence[int],
        shares: Sequence[float],
        *,
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.members = [np.flatnonzero(np.asarray(sources) == s) for s in range(len(shares))]
        self.shares = np.asarray(shares)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng([self.seed, self.epoch()])
        counts = spread(self.shares, self.batch_size, len(self) // self.batch_size)
        streams = [self._endless(members, draw) for members in self.members]
        for start in range(0, len(counts), _STRETCH):
            stretch = counts[start : start + _STRETCH]
            by_source = [self._sorted(streams[s], int(stretch[:, s].sum())) for s in range(len(self.shares))]
            ends = stretch.cumsum(axis=0)
            for k in draw.permutation(len(stretch)):
                for s, chosen in enumerate(by_source):
                    yield from chosen[ends[k, s] - stretch[k, s] : ends[k, s]].tolist()

    def _endless(self, members: np.ndarray, draw: np.random.Generator) -> Iterator[int]:
        while len(members):
            yield from draw.permutation(members)

    def _sorted(self, stream: Iterator[int], count: int) -> np.ndarray:
        chosen = np.fromiter((next(stream) for _ in range(count)), dtype=np.int64, count=count)
        return chosen[np.argsort(-self.lengths[chosen], kind="stable")]


def spread(shares: np.ndarray, batch_size: int, batches: int) -> np.ndarray:
    """How many examples of each source each batch holds: whole numbers whose sums follow the shares.

    Args:
        shares: They sum to 1.
        batch_size: Sum of every row.
        batches: Rows.

    Returns:
        *Shape:* (batches, sources)
    """
    rows = np.zeros((batches, len(shares)), dtype=np.int64)
    owed = np.zeros(len(shares))
    for row in rows:
        owed += shares * batch_size
        row[:] = np.maximum(np.floor(owed + 1e-9), 0)
        while row.sum() > batch_size:
            row[np.argmin(np.where(row > 0, owed - row, np.inf))] -= 1
        while row.sum() < batch_size:
            row[np.argmax(owed - row)] += 1
        owed -= row
    return rows
