"""What goes in and what comes out: posts, entities, predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from dpe_mner.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

ImageLike = Union[str, "os.PathLike[str]", bytes, "PIL.Image.Image", "np.ndarray[Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class LabelledSpan:
    """A gold entity: characters of a post given as text, words of a post given as words; ``end`` is exclusive."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Post:
    """One post; give ``text`` or ``words``.

    Attributes:
        id: Any name; repeated in the predictions.
        text: The post as written.
        words: The post already split.
        image: Its picture: a path (or URL), encoded bytes, a PIL image or an array.
        caption: Caption of its picture, y_ct.
        tags: Objects in its picture, y_ft.
        entities: Gold entities; None when the post is unlabelled.
        convention: Annotation convention to answer by, of a model that knows several; its first when not given.
        line: Its first line in the file it was read from, 0 if none.

    Tags may be one string, parted by commas; words, tags and entities anything in order: a tuple, an array, a Series.

    Raises:
        InputError: If a part is of another kind, with the call to make.
    """

    id: str = ""
    text: str | None = None
    words: Sequence[str] | None = None
    image: ImageLike | None = None
    caption: str | None = None
    tags: Sequence[str] | None = None
    entities: Sequence[LabelledSpan] | None = None
    convention: str | None = None
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if (self.text is None) == (self.words is None):
            raise InputError("a post has either text or words, not both and not neither: Post(text='Kevin in Paris')")
        if self.text is not None and not isinstance(self.text, str):
            raise InputError(f"text is one string, not {_kind(self.text)}: Post(text='Kevin in Paris')")
        if self.caption is not None and not isinstance(self.caption, str):
            raise InputError(f"caption is one string, not {_kind(self.caption)}: Post(text='...', caption='a man')")
        if isinstance(self.words, str):
            raise InputError("words is a list of words, not a text: Post(words=['Kevin', 'wins']) or Post(text='...')")
        for name, values in (("id", self.id), ("words", self.words), ("tags", self.tags), ("entities", self.entities)):
            object.__setattr__(self, name, _BROUGHT[name](values))


def _name(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float | Mapping | list | tuple | set | bytes):
        raise InputError(f"id is a name, not {_kind(value)}: Post(id='7', text='...')")
    return "" if value is None else str(value)


def _strings(values: object, what: str, call: str) -> Sequence[str] | None:
    """A list or tuple as given, anything else in order as a tuple."""
    if values is None:
        return None
    if not isinstance(values, Iterable) or isinstance(values, bytes | bytearray | Mapping | set | frozenset):
        raise InputError(f"{what} is a list of strings, not {_kind(values)}: {call}")
    brought = values if isinstance(values, list | tuple) else tuple(_items(values, what, call))
    for value in brought:
        if not isinstance(value, str):
            raise InputError(f"{what} is a list of strings, and holds {_kind(value)}: {call}")
    return brought


def _items(values: Iterable[Any], what: str, call: str) -> Iterable[Any]:
    try:
        return iter(values)
    except TypeError:  # an array of no dimension says it can be iterated over
        raise InputError(f"{what} is a list of strings, not {_kind(values)}: {call}") from None


def _tags(values: object) -> Sequence[str] | None:
    if isinstance(values, str):  # as the command line takes them
        return tuple(tag.strip() for tag in values.split(",") if tag.strip())
    return _strings(values, "tags", "Post(text='...', tags=['person', 'ball'])")


def _words(values: object) -> Sequence[str] | None:
    return _strings(values, "words", "Post(words=['Kevin', 'wins'])")


def _entities(values: object) -> Sequence[LabelledSpan] | None:
    if values is None:
        return None
    call = "Post(text='...', entities=[LabelledSpan(start=0, end=5, label='PER')])"
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping | LabelledSpan):
        raise InputError(f"entities is a list of LabelledSpan, not {_kind(values)}: {call}")
    brought = values if isinstance(values, list | tuple) else tuple(values)
    for value in brought:
        if not isinstance(value, LabelledSpan):
            raise InputError(f"entities is a list of LabelledSpan, and holds {_kind(value)}: {call}")
    return brought


def _kind(value: object) -> str:
    return type(value).__name__


_BROUGHT: dict[str, Callable[[Any], Any]] = {"id": _name, "words": _words, "tags": _tags, "entities": _entities}


@dataclass(frozen=True)
class Entity:
    """A named entity.

    Attributes:
        text: The characters it covers.
        label: Its type.
        start: First character.
        end: Character after the last.
        word_start: First word.
        word_end: Word after the last.
        score: In [0, 1].
    """

    text: str
    label: str
    start: int
    end: int
    word_start: int
    word_end: int
    score: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class StartSpan:
    """Spans a reasoning step started from: noise in the first step, where the step before led in a later one.

    Attributes:
        start: First character.
        end: Character after the last.
        word_start: First word.
        word_end: Word after the last.
        label: Type the step gave them with more probability than "no entity" and any other type; empty for none.
        count: How many of the step's spans these are.
    """

    start: int
    end: int
    word_start: int
    word_end: int
    label: str
    count: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class ReasoningStep:
    """One reasoning step, explained.

    Attributes:
        step: 1 .. gamma.
        time: Diffusion time t.
        candidates: Candidate entities, best first.
        image2text_weight: Weight of image2text against image (eq. 3).
        coarse_weight: Weight of coarse against fine (eq. 6).
        span_relevance: Mean relevance of the spans to the ``coarse`` and to the ``fine`` grain at this step (eq. 4); a
            grain that does not move the answer is left out.
        starts: The spans it started from, by position.
    """

    step: int
    time: int
    candidates: list[Entity]
    image2text_weight: float
    coarse_weight: float
    span_relevance: Mapping[str, float]
    starts: list[StartSpan] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "candidates": [entity.as_dict() for entity in self.candidates],
            "span_relevance": dict(self.span_relevance),
            "starts": [start.as_dict() for start in self.starts],
        }


@dataclass(frozen=True)
class Grounding:
    """What an entity's span looked at most among the regions and tags of the picture.

    Only said where the fine grain moves the logits of that span, and where its attention is not spread evenly.

    Attributes:
        entity: Index into the prediction's entities.
        source: ``region`` or ``tag``.
        name: Its label.
        box: Left, top, right, bottom as shares of the picture's width and height; None when unknown.
        weight: Its share of the span's attention to the fine grain in the last step, followed through all layers of
            eq. 5.
        lift: That share over the one that even attention would give it; what was looked at most has the greatest.
        relevance: Of the entity's span to the fine grain (eq. 4).
    """

    entity: int
    source: str
    name: str
    box: tuple[float, float, float, float] | None
    weight: float
    lift: float = 1.0
    relevance: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "box": list(self.box) if self.box is not None else None}


@dataclass(frozen=True)
class Prediction:
    """Entities of a post and how they came about.

    Attributes:
        id: The post's.
        text: The text that offsets count in.
        entities: In order of position.
        steps: Reasoning steps; empty unless an explanation was asked for.
        relevance: ``{"token": {"coarse": r, "fine": r}, "sentence": ..., "span": ...}`` (eq. 4); without the grains
            that do not move the answer, and empty for what the model has no gate for.
        representations: Which of x_t, x_g, x_s, y_c, y_ct, y_f, y_ft were present.
        warnings: What could not be used, and why.
        grounding: For each entity the region or tag of the picture it looked at most, where there is one to tell; only
            with an explanation.
        influence: ``{"coarse": d, "fine": d}``: how far the answer's logits move when the content of a grain is
            exchanged for something foreign; only grains that are present, and only with an explanation.
    """

    id: str
    text: str
    entities: list[Entity]
    steps: list[ReasoningStep] = field(default_factory=list)
    relevance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    representations: Mapping[str, bool] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    grounding: list[Grounding] = field(default_factory=list)
    influence: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self, *, explain: bool = False) -> dict[str, Any]:
        """For JSON; with ``explain`` all the rest too."""
        short = {"id": self.id, "entities": [e.as_dict() for e in self.entities], "warnings": list(self.warnings)}
        if not explain:
            return short
        return {
            **short,
            "text": self.text,
            "steps": [step.as_dict() for step in self.steps],
            "relevance": {i: dict(values) for i, values in self.relevance.items()},
            "representations": dict(self.representations),
            "grounding": [grounding.as_dict() for grounding in self.grounding],
            "influence": dict(self.influence),
        }
