"""Score a model on labelled posts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from dpe_mner.data.dataset import Dataset
from dpe_mner.data.gold import gold_of_posts, without_types
from dpe_mner.data.inputs import with_progress
from dpe_mner.errors import InputError
from dpe_mner.evaluation.score import Labelled, Report, score
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.types import Post, Prediction

_WHY_BARE = {"columns", "missing-tag", "bad-columns", "label-key"}  # findings that cost a post its labels


def require_labels(dataset: Dataset) -> None:
    """Refuse unlabelled data.

    Raises:
        InputError: Naming the first post without labels.
    """
    bare = [post for post in dataset.posts if post.entities is None]
    if bare:
        why = next((p for p in dataset.problems if p.kind in _WHY_BARE), None)
        raise InputError(
            f"{dataset.path}:{bare[0].line}: {len(bare)} posts have no labels, the first is {bare[0].id!r}; "
            + ('add "entities" (JSONL) or tags (CoNLL)' if why is None else str(why))
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
    posts, left_out = scored_posts(model, posts, options.convention)
    if left_out and note is not None:
        note(f"{left_out} gold entities are of types that their convention does not annotate; they do not count")
    gold = gold_of_posts(posts)
    found, seen = _answers(model, posts, options)
    results = list(with_progress(found, posts, quiet=quiet))
    warned = [warning for result in results for warning in result.warnings]
    if warned and note is not None:
        note(f"warning: {len(warned)} posts had something left out, e.g. {warned[0]}")
    if ignore_labels:
        results = [without_labels(result, ignore_labels) for result in results]
    return Answers(seen, gold, results)


def scored_posts(model: Predicts, posts: Sequence[Post], convention: str | None) -> tuple[list[Post], int]:
    """Posts without the gold entities of types that their annotation convention leaves out, and how many those were.

    Args:
        model: Knows the conventions.
        posts: Labelled.
        convention: Of posts that name none; the model's default when not given.
    """
    if not any(each.unannotated for each in model.annotation_conventions):
        return list(posts), 0
    types = {each.name: each.unannotated for each in model.annotation_conventions}
    default = convention or next(iter(types))
    scored = [without_types(post, types.get(post.convention or default, ())) for post in posts]
    lost = sum(len(a.entities or ()) - len(b.entities or ()) for a, b in zip(posts, scored, strict=True))
    return scored, lost


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
