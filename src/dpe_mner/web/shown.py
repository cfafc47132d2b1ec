"""An answer as the page draws it: the text in pieces, steps with their arcs placed, bars, boxes. All of it is data.

Offsets of an answer count code points, as Python does, and browsers count UTF-16 units; so the text is cut here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dpe_mner.data.words import words_of
from dpe_mner.explain.sources import idle
from dpe_mner.pages.arcs import Diagram
from dpe_mner.pages.html import Mark, colour_of, pieces_of
from dpe_mner.pages.steps import SOURCE_NAMES, ShownStep, enumerated, shown_boxes, shown_steps
from dpe_mner.types import Post, Prediction


def shown(post: Post, prediction: Prediction) -> dict[str, Any]:
    """What the page needs of an answer.

    Args:
        post: As it was asked.
        prediction: With or without an explanation.
    """
    answer: dict[str, Any] = {
        "pieces": _pieces(prediction),
        "entities": [
            entity.as_dict() | {"number": number, "colour": colour_of(entity.label)}
            for number, entity in enumerate(prediction.entities, start=1)
        ],
        "warnings": list(prediction.warnings),
        "steps": [],
    }
    if not prediction.representations:
        return answer
    return answer | {
        "steps": [_step(step) for step in shown_steps(words_of(post), prediction)],
        "boxes": [
            {"box": list(box.box), "numbers": box.numbers, "colour": colour_of(box.label)}
            for box in shown_boxes(prediction.entities, prediction.grounding)
        ],
        "grounding": [grounding.as_dict() for grounding in prediction.grounding],
        "relevance": {name: dict(grains) for name, grains in prediction.relevance.items() if grains},
        "sources": [
            {"name": SOURCE_NAMES.get(key, key), "present": present}
            for key, present in prediction.representations.items()
        ],
        "idle": enumerated(idle(prediction)),
    }


def _pieces(prediction: Prediction) -> list[dict[str, Any]]:
    marks = [
        Mark(start=entity.start, end=entity.end, label=entity.label, note=str(number), rank=entity.score)
        for number, entity in enumerate(prediction.entities, start=1)
    ]
    return [
        {"text": piece.text}
        | ({} if piece.mark is None else _named(piece.mark.label) | {"number": int(piece.mark.note)})
        for piece in pieces_of(prediction.text, marks)
    ]


def _step(step: ShownStep) -> dict[str, Any]:
    weights = step.weights
    return {
        "step": step.step.step,
        "time": step.step.time,
        "spans": step.spans,
        "read": step.read,
        "told": step.told,
        "diagrams": {name: _diagram(diagram) for name, diagram in step.diagrams.items()},
        "any": weights.any,
        "image2text": weights.image2text if weights.both_kinds else None,
        "coarse": weights.coarse if weights.coarse_present and weights.fine_present else None,
        "named": [{"name": name, "share": share} for name, share in weights.named],
        "relevance": dict(step.step.span_relevance),
    }


def _diagram(diagram: Diagram) -> dict[str, Any]:
    placed = asdict(diagram)
    for part in ("words", "above", "below"):
        placed[part] = [each | _named(each["label"]) for each in placed[part]]
    return placed


def _named(label: str) -> dict[str, Any]:
    """A type and its colour; none for no type."""
    return {"label": label, "colour": colour_of(label) if label else None}
