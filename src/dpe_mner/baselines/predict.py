"""A baseline's predictions: the windows, batches and merging of our model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from dpe_mner.baselines.build import BuiltBaseline
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.evaluation.calibration import Validation, above, calibrated
from dpe_mner.pipeline import predictions_of
from dpe_mner.predictor import collate_windows
from dpe_mner.types import Post, Prediction


@torch.no_grad()  # not inference mode: the CRF's marginals are gradients
def predict_posts(
    baseline: BuiltBaseline, posts: Iterable[Post], *, batch_size: int = 64, threshold: float | None = None
) -> list[Prediction]:
    """Entities of posts, in order.

    Args:
        baseline: Left in the mode it is in.
        posts: Captions, tags and pictures are not read.
        batch_size: Windows computed together; never changes an answer.
        threshold: Least score of an entity; the one chosen on validation when not given.
    """
    model, tokenizer = baseline.model, baseline.tokenizer
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found = predictions_of(
        map(text_only, posts),
        lambda windows: model.decode(collate_windows(windows, pad_id=tokenizer.pad_id).to(device)),
        tokenizer=tokenizer,
        labels=baseline.description.labels,
        batch_size=batch_size,
    )
    least = baseline.description.threshold if threshold is None else threshold
    predictions = above(list(found), least)
    model.train(was_training)
    return predictions


def text_only(post: Post) -> Post:
    """The post without all that a baseline does not read."""
    return replace(post, caption=None, tags=None, image=None)


def validate_baseline(baseline: BuiltBaseline, posts: Sequence[Post], *, batch_size: int = 64) -> Validation:
    """Scores on labelled posts without a threshold and with the one that is best on them, as our model has them."""
    found = predict_posts(baseline, posts, batch_size=batch_size, threshold=0.0)
    return calibrated(gold_of_posts(posts), found)
