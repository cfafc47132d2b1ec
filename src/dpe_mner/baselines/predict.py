"""A baseline's predictions: the windows, batches and merging of our model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from dpe_mner.baselines.network import Baseline
from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.score import Report, score
from dpe_mner.predictor import batches_of_like_shape, collate_windows, merge_windows
from dpe_mner.reasoning.rows import Row
from dpe_mner.representations.pieces import PieceEncoder, Window
from dpe_mner.types import Post, Prediction


@torch.no_grad()  # not inference mode: the CRF's marginals are gradients
def predict_posts(
    model: Baseline, pieces: PieceEncoder, posts: Sequence[Post], labels: Sequence[str], *, batch_size: int = 64
) -> list[Prediction]:
    """Entities of posts, in order.

    Args:
        model: Left in the mode it is in.
        pieces: Its tokenizer with windows.
        posts: Captions, tags and pictures are not read.
        labels: Entity types.
        batch_size: Windows computed together; never changes an answer.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    words = [words_of(post) for post in posts]
    windows = [w for i, post in enumerate(posts) for w in pieces.windows(post, words[i], index=i)]
    found: dict[int, list[tuple[Window, list[Row]]]] = defaultdict(list)
    for batch in batches_of_like_shape(windows, batch_size):
        rows = model.decode(collate_windows(batch, pad_id=pieces.pad_id).to(device))
        for window, result in zip(batch, rows, strict=True):
            found[window.post].append((window, result))
    model.train(was_training)
    return [
        Prediction(
            id=post.id,
            text=words[i].text,
            entities=merge_windows(words[i], sorted(found[i], key=lambda result: result[0].first), labels),
            warnings=[] if len(words[i]) else ["the post has no words"],
        )
        for i, post in enumerate(posts)
    ]


def score_predictions(posts: Sequence[Post], predictions: Sequence[Prediction]) -> Report:
    """Strict scores of predictions of labelled posts."""
    gold = [gold_characters(post, words_of(post)) for post in posts]
    return score(gold, [[(e.start, e.end, e.label) for e in p.entities] for p in predictions])
