"""Score a model on labelled posts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dpe_mner.data.dataset import Dataset
from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.evaluation.score import Report, score
from dpe_mner.inputs import with_progress
from dpe_mner.model import DPEMNERModel
from dpe_mner.predictor import PredictionOptions, Predictor
from dpe_mner.types import Post


def require_labels(dataset: Dataset) -> None:
    """Refuse unlabelled data.

    Raises:
        InputError: Naming the first post without labels.
    """
    bare = [post for post in dataset.posts if post.entities is None]
    if bare:
        raise InputError(
            f"{dataset.path}:{bare[0].line}: {len(bare)} posts have no labels, the first is {bare[0].id!r}; "
            'add "entities" (JSONL) or tags (CoNLL)'
        )


def evaluate_posts(
    model: DPEMNERModel,
    posts: Sequence[Post],
    options: PredictionOptions,
    *,
    quiet: bool = True,
    note: Callable[[str], None] | None = None,
) -> Report:
    """Predict and compare, strictly, in characters.

    Args:
        model: With its tokenizer.
        posts: Labelled.
        options: How to predict.
        quiet: No progress bar.
        note: Receives a line when posts were predicted without something they brought.
    """
    assert model.pieces is not None
    gold = [gold_characters(post, words_of(post)) for post in posts]
    results = list(with_progress(Predictor(model, model.pieces, model.pictures)(posts, options), posts, quiet=quiet))
    warned = [warning for result in results for warning in result.warnings]
    if warned and note is not None:
        note(f"warning: {len(warned)} posts had something left out, e.g. {warned[0]}")
    return score(gold, [[(e.start, e.end, e.label) for e in result.entities] for result in results])
