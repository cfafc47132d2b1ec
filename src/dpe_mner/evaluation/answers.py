"""Score a model on labelled posts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from dpe_mner.data.dataset import Dataset
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.data.inputs import with_progress
from dpe_mner.errors import InputError
from dpe_mner.evaluation.score import Labelled, Report, score
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.types import Post, Prediction


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


@dataclass(frozen=True)
class Answers:
    """A model's answers to labelled posts.

    Attributes:
        posts: As the model read them: with the captions and tags made of their pictures.
        gold: Entities of each post, in characters.
        predictions: In the same order.
    """

    posts: list[Post]
    gold: list[set[Labelled]]
    predictions: list[Prediction]

    @property
    def spans(self) -> list[set[Labelled]]:
        """Predicted entities of each post, in characters."""
        return [{(e.start, e.end, e.label) for e in prediction.entities} for prediction in self.predictions]

    @property
    def report(self) -> Report:
        """Strict scores."""
        return score(self.gold, self.spans)


def answer_posts(
    model: Predicts,
    posts: Sequence[Post],
    options: PredictionOptions,
    *,
    quiet: bool = True,
    note: Callable[[str], None] | None = None,
    ignore_labels: Collection[str] = (),
) -> Answers:
    """Predict labelled posts.

    Args:
        model: With its tokenizer.
        posts: Labelled.
        options: How to predict.
        quiet: No progress bar.
        note: Receives a line when posts were predicted without something they brought.
        ignore_labels: Entities found with these labels are left out; the gold has none.
    """
    gold = gold_of_posts(posts)
    found, seen = _answers(model, posts, options)
    results = list(with_progress(found, posts, quiet=quiet))
    warned = [warning for result in results for warning in result.warnings]
    if warned and note is not None:
        note(f"warning: {len(warned)} posts had something left out, e.g. {warned[0]}")
    if ignore_labels:
        results = [without_labels(result, ignore_labels) for result in results]
    return Answers(seen, gold, results)


def without_labels(prediction: Prediction, labels: Collection[str]) -> Prediction:
    """A prediction without the entities of some labels."""
    return replace(prediction, entities=[entity for entity in prediction.entities if entity.label not in labels])


def _answers(
    model: Predicts, posts: Sequence[Post], options: PredictionOptions
) -> tuple[Iterator[Prediction], list[Post]]:
    """Predictions to come, and the posts as the model reads them, complete when the last prediction has come."""
    pictures = getattr(model, "pictures", None)
    if pictures is None:
        return model.predictions(posts, options), list(posts)
    from dpe_mner.explain.remembering import RememberingSource
    from dpe_mner.model import DPEMNERModel

    assert isinstance(model, DPEMNERModel)
    source = RememberingSource(pictures)
    return model.predictions(posts, options, pictures=source), source.posts


def evaluate_posts(
    model: Predicts,
    posts: Sequence[Post],
    options: PredictionOptions,
    *,
    quiet: bool = True,
    note: Callable[[str], None] | None = None,
    ignore_labels: Collection[str] = (),
) -> Report:
    """Predict and compare, strictly, in characters; arguments as for :func:`answer_posts`."""
    return answer_posts(model, posts, options, quiet=quiet, note=note, ignore_labels=ignore_labels).report
