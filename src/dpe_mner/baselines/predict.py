"""A baseline's predictions: the windows, batches and merging of our model, and what its pictures give."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from dpe_mner.baselines.build import BuiltBaseline
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.calibration import Validation, above, calibrated
from dpe_mner.pictures.kinds import PictureParts
from dpe_mner.pictures.source import PictureSource
from dpe_mner.pipeline import CHUNK, chunks, empty_warning, merge_windows, run_windows
from dpe_mner.predictor import blocks_of, collate_windows, features_of
from dpe_mner.representations.windows import Window
from dpe_mner.types import Post, Prediction

_PICTURE_CHUNK = 256  # as of our model: features take a few hundred times the room of text


def predict_posts(
    baseline: BuiltBaseline,
    posts: Iterable[Post],
    *,
    batch_size: int = 64,
    threshold: float | None = None,
    pictures: PictureSource | None = None,
) -> list[Prediction]:
    """Entities of posts, in order.

    Args:
        baseline: Left in the mode it is in.
        posts: What the system does not read of their captions, tags and pictures is not looked at.
        batch_size: Windows computed together; never changes an answer.
        threshold: Least score of an entity; the one chosen on validation when not given.
        pictures: Makes the parts of their pictures, for a system that reads any.
    """
    model = baseline.model
    was_training = model.training
    model.eval()
    found = list(stream_posts(baseline, posts, batch_size=batch_size, threshold=threshold, pictures=pictures))
    model.train(was_training)
    return found


def stream_posts(
    baseline: BuiltBaseline,
    posts: Iterable[Post],
    *,
    batch_size: int = 64,
    threshold: float | None = None,
    pictures: PictureSource | None = None,
) -> Iterator[Prediction]:
    """As :func:`predict_posts`, a stretch of posts at a time; the model is in evaluation mode."""
    least = baseline.description.threshold if threshold is None else threshold
    reads = baseline.description.system.reads
    for chunk in chunks((as_read(post, reads) for post in posts), CHUNK if pictures is None else _PICTURE_CHUNK):
        yield from above(_stretch(baseline, chunk, pictures, batch_size=batch_size), least)


@torch.no_grad()  # not inference mode: the CRF's marginals are gradients
def _stretch(
    baseline: BuiltBaseline, posts: list[Post], pictures: PictureSource | None, *, batch_size: int
) -> list[Prediction]:
    parts = [PictureParts() for _ in posts]
    if pictures is not None:
        illustrated = pictures(posts)
        posts, parts = [found.post for found in illustrated], [found.parts for found in illustrated]
    model, tokenizer = baseline.model, baseline.tokenizer
    device = next(model.parameters()).device
    words, images = [words_of(post) for post in posts], [features_of(part) for part in parts]
    seen = pictures is not None

    def compute(windows: list[Window]) -> Sequence[list[tuple[int, int, int, float]]]:
        own = [images[window.post] for window in windows] if seen else None
        return model.decode(collate_windows(windows, pad_id=tokenizer.pad_id, images=own).to(device))

    found = run_windows(
        posts,
        words,
        compute,
        tokenizer=tokenizer,
        batch_size=batch_size,
        blocks=[blocks_of(image) for image in images] if seen else None,
    )
    return [
        Prediction(
            id=post.id,
            text=own.text,
            entities=merge_windows(own, results, baseline.description.labels),
            warnings=[*empty_warning(own), *part.warnings],
        )
        for post, own, results, part in zip(posts, words, found, parts, strict=True)
    ]


def as_read(post: Post, reads: Collection[str]) -> Post:
    """The post without all that a system does not read."""
    return replace(
        post,
        caption=post.caption if "y_ct" in reads else None,
        tags=post.tags if "y_ft" in reads else None,
        image=post.image if reads else None,
        convention=None,
    )


def validate_baseline(
    baseline: BuiltBaseline, posts: Sequence[Post], *, batch_size: int = 64, pictures: PictureSource | None = None
) -> Validation:
    """Scores on labelled posts without a threshold and with the one that is best on them, as our model has them."""
    found = predict_posts(baseline, posts, batch_size=batch_size, threshold=0.0, pictures=pictures)
    return calibrated(gold_of_posts(posts), found)
