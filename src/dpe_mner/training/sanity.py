"""What is odd about the data of a run, told before the first epoch: a line for all that is not learned or measured."""

from __future__ import annotations

import os

from dpe_mner.data.dataset import Dataset
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError


def check_splits(train: Dataset, valid: Dataset) -> list[str]:
    """Refuse splits that nothing can be learned from or measured on.

    Args:
        train: Training posts, labels as they will be learned.
        valid: Validation posts.

    Returns:
        A line for each thing that is odd but can be trained on.

    Raises:
        InputError: If a split has no entity, or no training post has a word.
    """
    for data, lost in ((train, "there is nothing to learn"), (valid, "every epoch would score 0")):
        if not data.labels:
            raise InputError(f"{data.path}: none of its {len(data.posts)} posts has an entity, so {lost}")
        empty = sum(not len(words_of(post)) for post in data.posts)
        if empty == len(data.posts):
            raise InputError(f"{data.path}: no post has a word, so {lost}")
    told = []
    if os.path.realpath(train.path) == os.path.realpath(valid.path) or train.sha256 == valid.sha256:
        told.append(f"{valid.path}: validation posts are the training posts; their F1 says nothing of other posts")
    if len(train.labels) == 1:
        told.append(f"{train.path}: all entities are {train.labels[0]}; the model will know no other type")
    for data in (train, valid):
        empty = sum(not len(words_of(post)) for post in data.posts)
        if empty:
            told.append(f"{data.path}: {empty} of {len(data.posts)} posts have no word; nothing is learned from them")
    missing = sorted(set(train.labels) - set(valid.labels))
    if missing:
        told.append(f"{valid.path}: no entity of type {', '.join(missing)}; F1 does not tell how these are learned")
    return told
