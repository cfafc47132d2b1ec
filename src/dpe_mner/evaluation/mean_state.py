"""The control of reasoning: every span state H_m replaced by one and the same, their mean.

What the answer is worth then goes round fusion and reasoning, for whatever they found in a post is in H_m alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError, nearest
from dpe_mner.evaluation.answers import Answers, answer_posts
from dpe_mner.evaluation.calibration import above, calibrated
from dpe_mner.evaluation.score import Report
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.types import Post, Prediction

MEAN_STATE = "mean-state"
CONTROLS = (MEAN_STATE,)


def check_control(name: str) -> None:
    """Refuse an unknown control.

    Raises:
        InputError: Naming the nearest.
    """
    if name not in CONTROLS:
        raise InputError(f"--control {name!r}{nearest(name, CONTROLS)}: choose {', '.join(CONTROLS)}")


class StateMean:
    """The mean of all states seen so far: over posts, spans and steps."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | None = None

    def add(self, states: Tensor) -> None:
        """See states. *Shape:* (B, N, h)."""
        flat = states.detach().flatten(0, -2)
        total = flat.sum(0, dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total
        self.count += len(flat)

    @property
    def value(self) -> Tensor:
        """The mean. *Shape:* (h,).

        Raises:
            ValueError: If nothing was seen.
        """
        if self._sum is None:
            raise ValueError("no state was seen")
        return self._sum / self.count


@contextmanager
def observed_state(model: DPEMNERModel) -> Iterator[StateMean]:
    """Within, H_m of everything the model reads goes into a mean; the answers stay as they are."""
    mean = StateMean()

    def see(_module: object, _inputs: object, H_m: Tensor) -> None:
        mean.add(H_m)

    handle = model.network.top.register_forward_hook(see)
    try:
        yield mean
    finally:
        handle.remove()


@contextmanager
def constant_state(model: DPEMNERModel, state: Tensor) -> Iterator[None]:
    """Within, H_m of every span of every post is ``state``.

    Args:
        model: Whose heads read it.
        state: *Shape:* (h,)
    """

    def put(_module: object, _inputs: object, H_m: Tensor) -> Tensor:
        return state.to(H_m).expand_as(H_m)

    handle = model.network.top.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class MeanStateAnswers:
    """A model's answers, and those with H_m at its mean.

    Attributes:
        own: As ever.
        control: With the threshold that is best for them on these posts: scores that merely shifted are no loss.
        threshold: That threshold.
        at_own_threshold: Scores of the control with the checkpoint's threshold.
    """

    own: Answers
    control: Answers
    threshold: float
    at_own_threshold: Report


def enough_for_a_mean(posts: Sequence[Post]) -> bool:
    """Whether the states of posts have a mean worth the name: two of them have words."""
    return _with_words(posts) > 1


def _with_words(posts: Sequence[Post]) -> int:
    return sum(len(words_of(post)) > 0 for post in posts)


def check_enough(posts: Sequence[Post]) -> None:
    """Refuse posts whose states have no mean worth the name.

    Raises:
        InputError: If fewer than two have words.
    """
    if not enough_for_a_mean(posts):
        having = _with_words(posts)
        raise InputError(
            f"--control {MEAN_STATE}: a mean over {having or 'no'} post{'' if having == 1 else 's'} is no control; "
            "give a file of at least two posts with words"
        )


def mean_state_answers(
    model: DPEMNERModel,
    posts: Sequence[Post],
    options: PredictionOptions,
    *,
    quiet: bool = True,
    note: Callable[[str], None] | None = None,
    ignore_labels: Collection[str] = (),
) -> MeanStateAnswers:
    """Predict labelled posts twice: as ever, taking the mean of H_m, and with H_m at that mean.

    Args:
        model: With its tokenizer.
        posts: Labelled.
        options: How to predict.
        quiet: No progress bar.
        note: Receives a line when posts were predicted without something they brought.
        ignore_labels: Entities found with these labels are left out; the gold has none.

    Raises:
        InputError: If fewer than two posts have words.
    """
    check_enough(posts)
    with observed_state(model) as mean:
        own = answer_posts(model, posts, options, quiet=quiet, note=note, ignore_labels=ignore_labels)
    with constant_state(model, mean.value):
        every = answer_posts(model, posts, replace(options, threshold=0.0), quiet=quiet, ignore_labels=ignore_labels)
    chosen = calibrated(every.gold, every.predictions)
    at_own: list[Prediction] = above(every.predictions, model.settings.decision.threshold)
    return MeanStateAnswers(
        own=own,
        control=replace(every, predictions=above(every.predictions, chosen.threshold)),
        threshold=chosen.threshold,
        at_own_threshold=replace(every, predictions=at_own).report,
    )


def as_dict(answers: MeanStateAnswers) -> dict[str, Any]:
    """What the control adds to a report, for JSON."""
    return {"threshold": answers.threshold, "f1_at_own_threshold": answers.at_own_threshold.overall.f1}
