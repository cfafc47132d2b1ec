"""Posts to measure with: a file's, or the demonstration posts over and over, cut or joined to a wanted length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from dpe_mner.data.demo import demo_posts
from dpe_mner.data.words import words_of
from dpe_mner.model import DPEMNERModel
from dpe_mner.predictor import batches_of_like_shape, collate_windows
from dpe_mner.representations.batch import Batch, GoldSpans, ImageFeatures
from dpe_mner.representations.collate import collate
from dpe_mner.types import Post


def sample_posts(count: int) -> list[Post]:
    """The demonstration posts, repeated."""
    return list(islice(cycle(demo_posts(pictures=False)), count))


def posts_of_length(count: int, words: int, *, caption_words: int | None = None) -> list[Post]:
    """Posts of exactly so many words, drawn from the demonstration posts.

    Args:
        count: How many.
        words: Of each.
        caption_words: Of each caption; None keeps captions as they are.
    """
    stream = cycle([word for post in demo_posts() for word in words_of(post).words])
    seen = cycle([word for post in demo_posts() for word in (post.caption or "").split()])
    made = []
    for _ in range(count):
        caption = None if caption_words is None else " ".join(islice(seen, caption_words))
        made.append(Post(words=list(islice(stream, words)), caption=caption))
    return made


def one_batch(model: DPEMNERModel, posts: Sequence[Post]) -> Batch:
    """All posts in one batch, padded to the longest, as training pads."""
    assert model.tokenizer is not None
    windows = [w for i, post in enumerate(posts) for w in model.tokenizer.windows(post, words_of(post), index=i)]
    return collate(windows, pad_id=model.tokenizer.pad_id).to(model.device)


def batches_of(model: DPEMNERModel, posts: Sequence[Post], batch_size: int) -> list[Batch]:
    """The batches prediction makes of posts."""
    assert model.tokenizer is not None
    windows = [w for i, post in enumerate(posts) for w in model.tokenizer.windows(post, words_of(post), index=i)]
    return [
        collate_windows(batch, pad_id=model.tokenizer.pad_id).to(model.device)
        for batch in batches_of_like_shape(windows, batch_size)
    ]


def with_gold(batch: Batch) -> Batch:
    """A batch with two made-up entities a post, to train on."""
    import torch

    B, M = len(batch), batch.words
    last = (batch.lengths - 1).clamp(min=0)
    spans = torch.stack([torch.zeros_like(last), last], dim=1)[..., None].expand(-1, -1, 2)
    labels = torch.ones(B, 2, dtype=torch.long, device=last.device)
    count = torch.full((B,), 2, device=last.device)
    tags = torch.zeros(B, M, dtype=torch.long, device=last.device).masked_fill(~batch.word_mask, -100)
    return replace(batch, gold=GoldSpans(spans.contiguous(), labels, count, tags))


def with_picture_tokens(batch: Batch, count: int, channels: int) -> Batch:
    """A batch with random image features y_c of so many tokens."""
    import torch

    B, device = len(batch), batch.lengths.device
    features = torch.randn(B, count, channels, generator=torch.Generator().manual_seed(0)).to(device)
    return replace(batch, coarse=ImageFeatures(features, torch.ones(B, count, dtype=torch.bool, device=device)))
