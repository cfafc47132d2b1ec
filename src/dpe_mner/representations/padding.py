"""Sequences of pieces to padded arrays, and windows to groups of like shape. Needs no PyTorch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dpe_mner.representations.windows import Pieces, Window

PAD = 8  # prediction rounds lengths up to a multiple of this, so that a post meets the same shapes in any batch


def round_up(value: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-value // step) * step


def padded(
    sequences: Sequence[Pieces | None], *, pad_id: int, multiple: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]] | None:
    """Ids, mask, word index and shapes, padded to the longest, rounded up; None when nobody has a piece."""
    longest = max((len(s.ids) for s in sequences if s is not None), default=0)
    if not longest:
        return None
    size = (len(sequences), round_up(longest, multiple))
    ids = np.full(size, pad_id, dtype=np.int64)
    index = np.full(size, -1, dtype=np.int64)
    shapes = np.zeros(size, dtype=np.int64)
    mask = np.zeros(size, dtype=bool)
    for row, sequence in enumerate(sequences):
        if sequence is None:
            continue
        count = len(sequence.ids)
        ids[row, :count], index[row, :count] = sequence.ids, sequence.word_index
        shapes[row, :count], mask[row, :count] = sequence.shapes, True
    return ids, mask, index, shapes


def groups_of_like_shape(
    windows: Sequence[Window], batch_size: int, blocks: Sequence[tuple[int, ...]] | None = None
) -> Iterator[list[Window]]:
    """Windows whose padded shapes are equal, at most ``batch_size`` together.

    A post's shapes then depend on the post alone, which keeps its result the same in any batch.

    Args:
        windows: Of all posts.
        batch_size: Windows together at most.
        blocks: Sizes of the image features of each post.
    """
    groups: dict[tuple[int, ...], list[Window]] = defaultdict(list)
    for window in windows:
        sizes = (len(window.text.ids), len(window.words), _length(window.caption), _length(window.tags))
        key = tuple(round_up(size, PAD) for size in sizes)
        groups[key + (blocks[window.post] if blocks is not None else ())].append(window)
    for key in sorted(groups):
        group = groups[key]
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _length(pieces: Pieces | None) -> int:
    return 0 if pieces is None else len(pieces.ids)
