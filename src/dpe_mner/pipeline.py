"""Posts to predictions, the one road that our model, its ONNX export and every baseline take. Needs no PyTorch.

A back end answers for a batch of windows; cutting posts into windows, batching windows of like shape, and joining what
was found in them is the same for all.
"""

from __future__ import annotations

import operator
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar, overload

from dpe_mner.data.entities import ScoredSpan, make_entity, without_overlap
from dpe_mner.data.inputs import PostLike, as_posts, with_progress
from dpe_mner.data.words import Words, words_of
from dpe_mner.decoding.candidates import Row
from dpe_mner.errors import InputError
from dpe_mner.representations.padding import groups_of_like_shape
from dpe_mner.representations.windows import Window, WindowTokenizer
from dpe_mner.settings import Convention
from dpe_mner.types import Entity, ImageLike, Post, Prediction

R = TypeVar("R")
T = TypeVar("T")

_EMPTY = "the post has no words"
_EXAMPLES = {"steps": 1, "spans": 24, "seed": 0, "batch_size": 32}
CHUNK = 2048  # posts sorted by length together; results come out in order after each chunk


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """How to predict; None takes the checkpoint's setting.

    Raises:
        InputError: If a number is out of range.
    """

    steps: int | None = None
    spans: int | None = None
    seed: int = 0
    batch_size: int = 32
    explain: bool = False
    threshold: float | None = None
    convention: str | None = None

    def __post_init__(self) -> None:
        for name, most in (("steps", 1000), ("spans", 4096), ("batch_size", 65536)):
            value = getattr(self, name)
            if value is not None and not 1 <= self._whole(name) <= most:
                raise InputError(f"{name} must be from 1 to {most}, got {value}")
        if not 0 <= self._whole("seed") < 2**63:
            raise InputError(f"seed must be a whole number from 0, got {self.seed}")

    def _whole(self, name: str) -> int:
        """A whole number of any kind, kept as an int."""
        value = getattr(self, name)
        try:
            if isinstance(value, bool):
                raise TypeError
            object.__setattr__(self, name, operator.index(value))
        except TypeError:
            shown = str(value)[:40]
            raise InputError(f"{name} must be a whole number, got {shown!r}; write {name}={_EXAMPLES[name]}") from None
        return int(value)


def chunks(posts: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Posts a stretch at a time, so that a stream of any length is predicted in bounded memory."""
    stream = iter(posts)
    while chunk := list(islice(stream, size)):
        yield chunk


def run_windows(
    posts: Sequence[Post],
    words: Sequence[Words],
    compute: Callable[[list[Window]], Sequence[R]],
    *,
    tokenizer: WindowTokenizer,
    batch_size: int,
    blocks: Sequence[tuple[int, ...]] | None = None,
) -> list[list[tuple[Window, R]]]:
    """What a back end says of each window of each post, in order of position.

    Args:
        posts: For their captions and tags.
        words: Of each post.
        compute: The back end: answers for the windows of one batch, which all have one padded shape.
        tokenizer: Cuts posts into windows.
        batch_size: Windows computed together at most; never changes an answer.
        blocks: Sizes of the image features of each post.
    """
    windows = [w for i, post in enumerate(posts) for w in tokenizer.windows(post, words[i], index=i)]
    found: dict[int, list[tuple[Window, R]]] = defaultdict(list)
    for batch in groups_of_like_shape(windows, batch_size, blocks):
        for window, result in zip(batch, compute(batch), strict=True):
            found[window.post].append((window, result))
    return [sorted(found[i], key=lambda pair: pair[0].first) for i in range(len(posts))]


def merge_windows(words: Words, results: Iterable[tuple[Window, Sequence[Row]]], labels: Sequence[str]) -> list[Entity]:
    """Entities of a post from what was found in each of its windows: a window answers for the words it owns."""
    spans: list[ScoredSpan] = []
    for window, rows in results:
        low, high = window.owned
        for left, right, label, score in rows:
            first, last = window.first + left, window.first + right
            if low <= first < high:
                spans.append((first, last, labels[label - 1], score))
    return [make_entity(words, *span) for span in without_overlap(spans)]


def predictions_of(
    posts: Iterable[Post],
    compute: Callable[[list[Window]], Sequence[Sequence[Row]]],
    *,
    tokenizer: WindowTokenizer,
    labels: Sequence[str],
    batch_size: int,
    no_pictures: str,
) -> Iterator[Prediction]:
    """Predictions of a back end that gives rows and nothing else, in order; arguments as for :func:`run_windows`.

    Of a picture, which such a back end does not use, ``no_pictures`` says why, and what to do.
    """
    for chunk in chunks(posts):
        words = [words_of(post) for post in chunk]
        found = run_windows(chunk, words, compute, tokenizer=tokenizer, batch_size=batch_size)
        for post, own, results in zip(chunk, words, found, strict=True):
            entities = merge_windows(own, results, labels)
            unused = [*empty_warning(own), *unused_picture(post, no_pictures)]
            yield Prediction(id=post.id, text=own.text, entities=entities, warnings=unused)


def empty_warning(words: Words) -> list[str]:
    """A warning when a post has no word."""
    return [] if len(words) else [_EMPTY]


def unused_picture(post: Post, why: str) -> list[str]:
    """A warning when a post has a picture, for a model that takes none."""
    if post.image is None:
        return []
    from dpe_mner.pictures.opening import picture_name  # late: most posts have none

    return [f"{picture_name(post.image)}: picture not used; {why}"]


def what_was_not_used(results: Iterable[Prediction]) -> list[str]:
    """Warnings of predictions, for answers that have no place for them; that an empty post is empty shows."""
    return [line for result in results for line in result.warnings if line != _EMPTY]


def _warn(lines: Sequence[str]) -> None:
    if lines:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        warnings.warn(f"{lines[0]}{more}", stacklevel=3)


class Predicts:
    """``predict`` as users call it, the same for every back end."""

    @property
    def labels(self) -> list[str]:
        """Entity types, in the order of the classes 1 .. C-1."""
        raise NotImplementedError

    @property
    def annotation_conventions(self) -> list[Convention]:
        """Annotation conventions of the corpora it was trained on, with the types that each leaves out."""
        raise NotImplementedError

    @property
    def conventions(self) -> list[str]:
        """Annotation conventions to choose from, the default first; empty when it was trained on one corpus."""
        return [convention.name for convention in self.annotation_conventions]

    @property
    def usual(self) -> tuple[int, int]:
        """The steps gamma and spans N this model takes when nobody asks for others."""
        raise NotImplementedError

    def predictions(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        """Predictions in input order, computed a stretch of posts at a time.

        Raises:
            InputError: If this back end cannot do what the options ask for.
        """
        raise NotImplementedError

    @overload  # a str is an iterable too: the first two signatures that fit win
    def predict(  # type: ignore[overload-overlap]
        self,
        post: str | Post,
        *,
        image: ImageLike | None = None,
        caption: str | None = None,
        tags: Sequence[str] | None = None,
        explain: Literal[False] = False,
        steps: int | None = None,
        spans: int | None = None,
        seed: int = 0,
        convention: str | None = None,
        batch_size: int = 32,
    ) -> list[Entity]: ...

    @overload  # a str is an iterable too: the first two signatures that fit win
    def predict(  # type: ignore[overload-overlap]
        self,
        post: str | Post,
        *,
        image: ImageLike | None = None,
        caption: str | None = None,
        tags: Sequence[str] | None = None,
        explain: Literal[True],
        steps: int | None = None,
        spans: int | None = None,
        seed: int = 0,
        convention: str | None = None,
        batch_size: int = 32,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        post: Iterable[PostLike],
        *,
        explain: Literal[False] = False,
        steps: int | None = None,
        spans: int | None = None,
        seed: int = 0,
        convention: str | None = None,
        batch_size: int = 32,
    ) -> list[list[Entity]]: ...

    @overload
    def predict(
        self,
        post: Iterable[PostLike],
        *,
        explain: Literal[True],
        steps: int | None = None,
        spans: int | None = None,
        seed: int = 0,
        convention: str | None = None,
        batch_size: int = 32,
    ) -> list[Prediction]: ...

    def predict(
        self,
        post: str | Post | Iterable[PostLike],
        *,
        image: ImageLike | None = None,
        caption: str | None = None,
        tags: Sequence[str] | None = None,
        explain: bool = False,
        steps: int | None = None,
        spans: int | None = None,
        seed: int = 0,
        convention: str | None = None,
        batch_size: int = 32,
    ) -> Any:
        """Entities of one post or of many.

        Args:
            post: One post, a text or a :class:`~dpe_mner.Post`; or an iterable of posts, each a text, a list of words
                or a ``Post``, or a ``datasets.Dataset`` with rows of posts. A list of strings is always a batch of
                texts; one post given as words is ``Post(words=[...])``.
            image: Picture of a single post: a path, bytes, a PIL image or an array.
            caption: Caption of a single post's picture.
            tags: Objects in a single post's picture.
            explain: Give a :class:`~dpe_mner.Prediction` instead of a list of entities.
            steps: Reasoning steps gamma.
            spans: Noisy spans N.
            seed: Of the starting noise.
            convention: Annotation convention to answer by; :attr:`conventions` lists them, the first is the default.
                A post that names its own keeps it.
            batch_size: Posts computed together; never changes an answer.

        Returns:
            ``list[Entity]``, or a ``Prediction`` with ``explain``; for an iterable a list of those, in order. What
            was not used, a picture for one, is in the ``warnings`` of a ``Prediction``, and without ``explain`` one
            line of Python's warnings.

        Raises:
            InputError: On arguments that do not fit.
        """
        options = PredictionOptions(
            steps=steps, spans=spans, seed=seed, batch_size=batch_size, explain=explain, convention=convention
        )
        posts, single = as_posts(post, image=image, caption=caption, tags=tags)
        results = list(with_progress(self.predictions(posts, options), posts))
        if not explain:
            _warn(what_was_not_used(results))
        answers = [result if explain else result.entities for result in results]
        return answers[0] if single else answers
