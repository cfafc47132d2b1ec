"""Windows to a padded batch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from dpe_mner.pictures.kinds import Span
from dpe_mner.representations.batch import Batch, GoldSpans, ImageFeatures, PieceBatch
from dpe_mner.representations.padding import padded, round_up
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.representations.windows import Pieces, Window
from dpe_mner.representations.word_shapes import CHARACTERS

GoldSpan = tuple[int, int, int]  # first word, last word, class


def pad_pieces(sequences: Sequence[Pieces | None], *, pad_id: int, multiple: int) -> PieceBatch | None:
    """Pad to the longest, rounded up; None when nobody has a piece."""
    arrays = padded(sequences, pad_id=pad_id, multiple=multiple)
    return None if arrays is None else PieceBatch(*(torch.from_numpy(a) for a in arrays))


def collate(
    windows: Sequence[Window],
    *,
    pad_id: int,
    gold: Sequence[Sequence[GoldSpan]] | None = None,
    images: Sequence[PostFeatures] | None = None,
    multiple: int = 1,
) -> Batch:
    """Build a batch.

    Args:
        windows: B windows.
        pad_id: Padding piece.
        gold: Gold spans of each window, in its own words.
        images: What each has of its picture.
        multiple: Round padded lengths up to this, so that equal posts meet equal shapes.

    Returns:
        The batch.
    """
    lengths = torch.tensor([len(w.words) for w in windows])
    M = round_up(max(int(lengths.max()), 1), multiple)
    text = pad_pieces([w.text for w in windows], pad_id=pad_id, multiple=multiple)
    assert text is not None
    images = images or [PostFeatures()] * len(windows)
    return Batch(
        text=text,
        lengths=lengths,
        words=M,
        characters=_characters(windows, M) if any(w.characters for w in windows) else None,
        caption=pad_pieces([w.caption for w in windows], pad_id=pad_id, multiple=multiple),
        tags=pad_pieces([w.tags for w in windows], pad_id=pad_id, multiple=multiple),
        coarse=_features([image.coarse for image in images]),
        fine=_features([image.fine for image in images]),
        objects=_objects(images),
        fine_words=_fine_words(windows, images),
        convention=torch.tensor([w.convention for w in windows]),
        gold=None if gold is None else _gold(gold, lengths, M),
    )


def _characters(windows: Sequence[Window], M: int) -> Tensor:
    codes = torch.zeros(len(windows), M, CHARACTERS, dtype=torch.long)
    for row, window in enumerate(windows):
        for position, word in enumerate(window.characters):
            codes[row, position, : len(word)] = torch.tensor(word)
    return codes


def _features(parts: Sequence[Tensor | None]) -> ImageFeatures | None:
    present = [p for p in parts if p is not None]
    if not present:
        return None
    longest = max(p.shape[0] for p in present)
    features = present[0].new_zeros(len(parts), longest, present[0].shape[1])
    mask = torch.zeros(len(parts), longest, dtype=torch.bool)
    for row, part in enumerate(parts):
        if part is not None:
            features[row, : part.shape[0]] = part
            mask[row, : part.shape[0]] = True
    return ImageFeatures(features, mask)


def _objects(images: Sequence[PostFeatures]) -> Tensor | None:
    if all(image.objects is None for image in images):
        return None
    counted = [image.objects for image in images]
    return torch.tensor([(-1.0, -1.0) if o is None else (float(o.count), o.density) for o in counted])


def _fine_words(windows: Sequence[Window], images: Sequence[PostFeatures]) -> Tensor | None:
    """Every block of a region has the words of the region's phrase."""
    longest = max((len(image.fine) for image in images if image.fine is not None), default=0)
    if not longest or not any(image.phrases for image in images):
        return None
    words = torch.full((len(windows), longest, 2), -1, dtype=torch.long)
    for row, (window, image) in enumerate(zip(windows, images, strict=True)):
        if image.fine is None or not image.phrases:
            continue
        blocks = len(image.fine) // len(image.phrases)
        for region, phrase in enumerate(image.phrases):
            if phrase is not None and (found := _words_in(window, phrase)) is not None:
                words[row, region * blocks : (region + 1) * blocks] = torch.tensor(found)
    return words


def _words_in(window: Window, span: Span) -> tuple[int, int] | None:
    """First and last word of a window that characters of the post belong to."""
    first, last = bisect_right(window.ends, span[0]), bisect_left(window.starts, span[1]) - 1
    return (first, last) if first <= last else None


def _gold(gold: Sequence[Sequence[GoldSpan]], lengths: Tensor, M: int) -> GoldSpans:
    E = max(max(map(len, gold), default=0), 1)
    spans = torch.zeros(len(gold), E, 2, dtype=torch.long)
    labels = torch.zeros(len(gold), E, dtype=torch.long)
    tags = torch.full((len(gold), M), -100, dtype=torch.long)
    for row, entities in enumerate(gold):
        tags[row, : int(lengths[row])] = 0
        for column, (first, last, label) in enumerate(entities):
            spans[row, column] = torch.tensor([first, last])
            labels[row, column] = label
            tags[row, first : last + 1] = 2 * label  # inside
            tags[row, first] = 2 * label - 1  # begin
    return GoldSpans(spans, labels, torch.tensor([len(g) for g in gold]), tags)
