"""What ``evaluate`` holds a model's answers against: another model, other posts, or itself under a control."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpe_mner.commands.analysis import BUNDLED
from dpe_mner.commands.console import note
from dpe_mner.errors import InputError
from dpe_mner.types import Post

if TYPE_CHECKING:
    from dpe_mner.evaluation.answers import Answers
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.pipeline import PredictionOptions

Answer = Callable[["DPEMNERModel", Sequence[Post]], "Answers"]
Load = Callable[[str | None], "DPEMNERModel"]


@dataclass(frozen=True)
class Held:
    """A model's answers and what they are held against.

    Attributes:
        own: The answers.
        others: What they are held against; None when nothing was asked for.
        name: What the others come from.
        control: Whether they come from the same model on the same posts under a control, whose scores are reported.
        figures: What the control found out besides, for JSON.
        lines: The same for people.
    """

    own: Answers
    others: Answers | None = None
    name: str = ""
    control: bool = False
    figures: dict[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Question:
    """What was asked for, at most one of them.

    Attributes:
        against: Another model.
        against_without: What is taken away.
        against_exchanged: What is exchanged between posts.
        control: Name of a control.
    """

    against: str | None = None
    against_without: str | None = None
    against_exchanged: str | None = None
    control: str | None = None

    def check(self) -> None:
        """Refuse two of them at once, and names that mean nothing.

        Raises:
            InputError: Saying what to give.
        """
        asked = [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]
        if len(asked) > 1:
            raise InputError(f"give either {' or '.join(asked[:2])}, one comparison at a time")
        if self.against_without is not None:
            from dpe_mner.evaluation.without import check_without

            check_without(self.against_without)
        if self.against_exchanged is not None:
            from dpe_mner.evaluation.exchanged import check_exchanged

            check_exchanged(self.against_exchanged)
        if self.control is not None:
            from dpe_mner.evaluation.mean_state import check_control

            check_control(self.control)


def hold(
    question: Question,
    model: DPEMNERModel,
    posts: Sequence[Post],
    *,
    answer: Answer,
    load: Load,
    options: PredictionOptions,
    quiet: bool = False,
    ignore_labels: Collection[str] = (),
) -> Held:
    """Answer, and answer what it is held against. What can be refused is, before any long work.

    Args:
        question: What was asked for.
        model: Its tokenizer and pictures at hand.
        posts: Labelled.
        answer: Predicts posts with a model.
        load: Gives another model.
        options: How ``answer`` predicts; its seed also draws the exchange.
        quiet: No progress, no notes.
        ignore_labels: Entities found with these labels are left out, as ``answer`` does.

    Raises:
        InputError: If the other model cannot be used, or there is nothing to take away or to exchange.
    """
    from dpe_mner.errors import needs_torch
    from dpe_mner.evaluation.exchanged import exchanged
    from dpe_mner.evaluation.without import without
    from dpe_mner.onnx.runtime import OnnxModel

    reads = model.pictures is not None
    if question.control is not None:
        if isinstance(model, OnnxModel):
            raise needs_torch(f"--control {question.control}")
        if not hasattr(model, "network"):
            raise InputError(f"--control {question.control}: only a DPE-MNER model has span states; leave it out")
        return _mean_state(model, posts, options, quiet=quiet, ignore_labels=ignore_labels)
    if question.against is not None:
        rival = load(None if question.against == BUNDLED else question.against)
        return Held(answer(model, posts), answer(rival, posts), question.against)
    if question.against_without is not None:
        bare = without(posts, question.against_without, reads_pictures=reads)
        return Held(answer(model, posts), answer(model, bare), f"without {question.against_without}")
    if question.against_exchanged is not None:
        what = question.against_exchanged
        mixed = None if _made(model, what) else exchanged(posts, what, seed=options.seed, reads_pictures=reads)
        own = answer(model, posts)
        if mixed is None:  # captions and tags that are made of pictures are there only now
            mixed = exchanged(own.posts, what, seed=options.seed, reads_pictures=reads)
        return Held(own, answer(model, mixed), f"exchanged {what}", control=True)
    return Held(answer(model, posts))


def _made(model: DPEMNERModel, what: str) -> bool:
    """Whether the model makes the part itself, so that posts need not bring it."""
    kinds = () if model.pictures is None else model.pictures.reader.kinds
    wanted = {"captions": {"caption", "ocr"}, "tags": {"tags"}, "all": {"caption", "ocr", "tags"}}
    return bool(wanted.get(what, set()) & set(kinds))


def _mean_state(
    model: DPEMNERModel,
    posts: Sequence[Post],
    options: PredictionOptions,
    *,
    quiet: bool,
    ignore_labels: Collection[str],
) -> Held:
    from dpe_mner.evaluation.mean_state import MEAN_STATE, as_dict, mean_state_answers

    found = mean_state_answers(
        model, posts, options, quiet=quiet, note=lambda line: note(line, quiet=quiet), ignore_labels=ignore_labels
    )
    line = (
        f"threshold chosen again under the control: {found.threshold}; with the checkpoint's own, "
        f"{model.settings.decision.threshold}, F1 {found.at_own_threshold.overall.f1:.2f}"
    )
    return Held(found.own, found.control, MEAN_STATE, control=True, figures=as_dict(found), lines=(line,))
