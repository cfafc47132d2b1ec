"""What a reasoning step and a grounded entity look like on a page, without the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpe_mner.data.words import Words
from dpe_mner.explain.sources import SOURCES, SourceWeights, counting, source_weights
from dpe_mner.pages.arcs import Arc, Diagram, arc_diagram
from dpe_mner.types import Entity, Grounding, Prediction, ReasoningStep

_COLUMNS = {"broad": 100, "slim": 37}  # of text in a line, on a screen and on a phone
_SURE = 0.5  # candidates that score less are drawn faint
SOURCE_NAMES = {
    "x_t": "words",
    "x_g": "sentence",
    "x_s": "spans",
} | {key: name for grain in SOURCES.values() for key, name in grain.items()}


@dataclass(frozen=True)
class ShownStep:
    """A reasoning step as the page draws it.

    Attributes:
        step: As explained.
        diagrams: Its spans as arcs, by the class of screens they fit: ``broad`` and ``slim``, or ``any``.
        weights: Of the sources beside the text.
        spans: It started from.
        read: How many of those it read as an entity.
        told: The diagram in words.
    """

    step: ReasoningStep
    diagrams: Mapping[str, Diagram]
    weights: SourceWeights
    spans: int
    read: int
    told: str


@dataclass(frozen=True)
class ShownBox:
    """A place in the picture and the entities that looked there.

    Attributes:
        box: Left, top, right, bottom as shares of width and height.
        numbers: Of the entities, from 1.
        label: Type of the first of them, for the colour.
    """

    box: tuple[float, float, float, float]
    numbers: list[int]
    label: str


def enumerated(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def shown_steps(words: Words, prediction: Prediction) -> list[ShownStep]:
    """Steps with their spans; a candidate that the step before did not have is marked as new."""
    steps: list[ShownStep] = []
    before: set[tuple[int, int, str]] | None = None
    counts = counting(prediction)
    for step in prediction.steps:
        now = {(entity.start, entity.end, entity.label) for entity in step.candidates}
        found = []
        for entity in step.candidates:
            new = before is not None and (entity.start, entity.end, entity.label) not in before
            found.append(_arc(entity, new=new))
        starts = [
            Arc(first=start.word_start, last=start.word_end - 1, label=start.label, count=start.count)
            for start in step.starts
        ]
        diagrams = {name: arc_diagram(words, found, starts, columns=wide) for name, wide in _COLUMNS.items()}
        if diagrams["broad"] == diagrams["slim"]:
            diagrams = {"any": diagrams["broad"]}
        steps.append(
            ShownStep(
                step=step,
                diagrams=diagrams,
                weights=source_weights(step, counts),
                spans=sum(start.count for start in step.starts),
                read=sum(start.count for start in step.starts if start.label),
                told=enumerated([f"{entity.text} {entity.label} {entity.score:.2f}" for entity in step.candidates]),
            )
        )
        before = now
    return steps


def _arc(entity: Entity, *, new: bool) -> Arc:
    return Arc(
        first=entity.word_start,
        last=entity.word_end - 1,
        label=entity.label,
        note=f"{entity.score:.2f}" + " new" * new,
        style=" ".join(["faint"] * (entity.score < _SURE) + ["new"] * new),
        rank=entity.score,
    )


def shown_boxes(entities: Sequence[Entity], groundings: Sequence[Grounding]) -> list[ShownBox]:
    """Boxes in the picture; entities that looked at the same place share one."""
    found: dict[tuple[float, float, float, float], ShownBox] = {}
    for grounding in groundings:
        if grounding.box is not None:
            box = found.setdefault(grounding.box, ShownBox(grounding.box, [], entities[grounding.entity].label))
            box.numbers.append(grounding.entity + 1)
    return list(found.values())
