"""The answers of a part of a bulk run: one for every post, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpe_mner.data.dataset import complete, read_visual_join
from dpe_mner.data.source import Problem
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.scale.loading import ModelChoice
from dpe_mner.scale.rows import Part, post_of
from dpe_mner.scale.sources import Source
from dpe_mner.types import Post, Prediction

_MOST_SHOWN = 500  # characters of a reason


@dataclass(frozen=True, kw_only=True)
class BulkWork:
    """What every worker of a bulk run is told; plain values that travel to another machine. Paths are absolute.

    Attributes:
        sources: What is read.
        columns: A post's key to the column that holds it.
        model: What a worker loads.
        options: How to predict.
        visual_text: Captions and tags by image id.
        part_rows: Rows of a part at most.
        folder: Where parts are written.
        ending: ``.jsonl`` or ``.parquet``.
        run: Identity of the run, checked before a part is written.
    """

    sources: list[Source]
    columns: Mapping[str, str]
    model: ModelChoice
    options: PredictionOptions
    visual_text: Path | None
    part_rows: int
    folder: Path
    ending: str
    run: str = ""


@dataclass(frozen=True)
class Answers:
    """What became of the rows of a part.

    Attributes:
        found: Number of a row and its prediction, in order.
        failed: Number of a row, the id of its post where it has one, and why there is no answer, in order.
    """

    found: list[tuple[int, Prediction]] = field(default_factory=list)
    failed: list[tuple[int, str, str]] = field(default_factory=list)


class Answerer:
    """A model, loaded once, that answers part after part.

    Args:
        work: What to load and how to predict.

    Raises:
        InputError: If the model or the visual text cannot be read.
    """

    def __init__(self, work: BulkWork) -> None:
        self.work = work
        self.model = work.model.load()
        problems: list[Problem] = []
        self.visual = read_visual_join(work.visual_text, problems)

    def __call__(self, part: Part) -> Answers:
        """One answer or one reason for each row; posts of like shape share a batch."""
        answers = Answers()
        posts: list[tuple[int, Post]] = []
        for row in part.rows or ():
            try:
                posts.append((row[0], self._complete(post_of(row, self.work.columns), part)))
            except ValueError as error:
                answers.failed.append((row[0], "", str(error)))
        found = predicted(self.model, [post for _, post in posts], self.work.options)
        for (number, post), one in zip(posts, found, strict=True):
            if isinstance(one, Prediction):
                answers.found.append((number, one))
            else:
                answers.failed.append((number, post.id, one))
        answers.failed.sort()
        return answers

    def _complete(self, post: Post, part: Part) -> Post:
        images = self.work.model.images
        folder = images if images is not None else Path(self.work.sources[part.source].path).parent
        return complete(post, visual=self.visual, folder=folder, by_id=images is not None)


def predicted(model: Any, posts: list[Post], options: PredictionOptions) -> list[Prediction | str]:
    """The answer for each post, or why there is none; a post that fails takes no other with it.

    What fails is halved until the post is alone.

    Args:
        model: Of any kind.
        posts: Any number.
        options: How to predict.
    """
    if not posts:
        return []
    try:
        found = list(model.predictions(posts, options))
        if len(found) == len(posts):
            return found
        reason = f"{len(found)} answers for {len(posts)} posts"
    except Exception as error:  # whatever a post can do to a model, the others have their answers
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MOST_SHOWN]
    if len(posts) == 1:
        return [reason]
    half = len(posts) // 2
    return [*predicted(model, posts[:half], options), *predicted(model, posts[half:], options)]
