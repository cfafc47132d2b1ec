"""What an explanation says, collected from reasoning traces: steps, weights, relevance, sources, grounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dpe_mner.data.entities import make_entity
from dpe_mner.data.words import Words, split_text
from dpe_mner.fusion.granularity import gap_weight, grain_weight
from dpe_mner.pictures.kinds import Detection, PictureParts
from dpe_mner.reasoning.decode import candidates_of, merge_steps, sort_candidates
from dpe_mner.reasoning.grounding import FineAttention, best_source, fine_attention
from dpe_mner.reasoning.rows import DIGITS, Row, rows_of
from dpe_mner.reasoning.trace import Reasoner, ReasoningTrace
from dpe_mner.representations.pieces import Window
from dpe_mner.types import Entity, Grounding, ReasoningStep

_STEP_CANDIDATES = 8  # shown of each step, when their score is not negligible
_SHOWN_SCORE = 0.05


@dataclass(frozen=True)
class Explanation:
    """What is kept of one window's trace: candidates, time and weights of each step, relevance, what was present."""

    steps: list[list[Row]]
    times: list[int]
    weights: list[tuple[float, float]]
    span_relevance: list[list[float]]
    relevance: list[list[float]]
    present: dict[str, bool]
    attention: FineAttention | None
    row: int


def explain(model: Reasoner, trace: ReasoningTrace) -> list[Explanation]:
    """An explanation of each post of a batch."""
    settings = model.settings
    steps, weights = [], []
    for step, s in zip(trace.steps, trace.context.s, strict=True):
        ranked = sort_candidates(merge_steps([candidates_of(step.output, settings)]))
        first = torch.arange(ranked.scores.shape[1], device=s.device) < _STEP_CANDIDATES
        steps.append(rows_of(ranked, (ranked.scores >= _SHOWN_SCORE) & first))
        gap, grain = gap_weight(s[:1], settings.fusion), grain_weight(s[:1], settings.fusion)
        # Without priorities nothing is scheduled: the parts stand side by side, coarse and fine too.
        weights.append((0.5, 0.5) if gap is None else (float(gap), float(grain)))
    parts = {
        "y_c": trace.visual["c"].image.present,
        "y_ct": trace.visual["c"].image2text.present,
        "y_f": trace.visual["f"].image.present,
        "y_ft": trace.visual["f"].image2text.present,
    }
    present = {name: flags.tolist() for name, flags in parts.items()}
    span_relevance = torch.stack([step.relevance for step in trace.steps], dim=1).tolist()
    relevance = trace.context.relevance.tolist()
    attention = fine_attention(model, trace)
    return [
        Explanation(
            steps=[rows[b] for rows in steps],
            times=trace.times,
            weights=weights,
            span_relevance=span_relevance[b],
            relevance=[*relevance[b], span_relevance[b][-1]],
            present={"x_t": True, "x_g": True, "x_s": True} | {name: flags[b] for name, flags in present.items()},
            attention=attention,
            row=b,
        )
        for b in range(len(relevance))
    ]


def merge_explanations(
    words: Words, windows: Sequence[tuple[Window, Explanation]], labels: Sequence[str]
) -> dict[str, Any]:
    """The explanation of a post; of several windows the steps are joined, relevance is the first window's."""
    first = windows[0][1]
    steps = []
    for k, time in enumerate(first.times):
        candidates = [
            make_entity(words, window.first + left, window.first + right, labels[label - 1], score)
            for window, explanation in windows
            for left, right, label, score in explanation.steps[k]
        ]
        gap, grain = first.weights[k]
        coarse, fine = first.span_relevance[k]
        relevance = {"coarse": round(coarse, DIGITS), "fine": round(fine, DIGITS)}
        steps.append(ReasoningStep(k + 1, time, candidates, round(gap, DIGITS), round(grain, DIGITS), relevance))
    names = ("token", "sentence", "span")
    by_text = {
        name: {"coarse": round(c, DIGITS), "fine": round(f, DIGITS)}
        for name, (c, f) in zip(names, first.relevance, strict=True)
    }
    return {"steps": steps, "relevance": by_text, "representations": dict(first.present)}


def ground(
    entities: Sequence[Entity],
    windows: Sequence[tuple[Window, Explanation]],
    parts: PictureParts,
    tags: Sequence[str],
) -> list[Grounding]:
    """The region or tag each entity rests on; an entity whose span cannot be told from the last step has none."""
    found = []
    for number, entity in enumerate(entities):
        for window, explanation in windows:
            low, high = window.owned
            attention = explanation.attention
            if attention is None or not low <= entity.word_start < high:
                continue
            left, right = entity.word_start - window.first, entity.word_end - 1 - window.first
            span = attention.span_of(explanation.row, left, right)
            if span is None:
                continue
            regions = _region_weights(attention.image[explanation.row, span].tolist(), parts)
            named = _tag_weights(attention.image2text[explanation.row, span].tolist(), window, tags)
            best = best_source(regions, named)
            if best is not None:
                found.append(_grounding(number, best, parts, tags))
    return found


def _region_weights(blocks: Sequence[float], parts: PictureParts) -> list[float]:
    """Blocks summed by region."""
    if parts.regions is None or not len(parts.regions.features):
        return []
    size = parts.regions.features.shape[1]
    return [sum(blocks[k : k + size]) for k in range(0, size * len(parts.regions.features), size)]


def _tag_weights(pieces: Sequence[float], window: Window, tags: Sequence[str]) -> list[float]:
    """Pieces summed by tag; a tag may have several words, a word several pieces."""
    owner = [k for k, tag in enumerate(tags) for _ in split_text(tag).words]
    weights = [0.0] * len(tags)
    if window.tags is None:
        return weights
    for weight, word in zip(pieces, window.tags.word_index, strict=False):
        if 0 <= word < len(owner):
            weights[owner[word]] += weight
    return weights


def _grounding(number: int, best: tuple[str, int, float], parts: PictureParts, tags: Sequence[str]) -> Grounding:
    source, index, weight = best
    if source == "region" and parts.regions is not None:
        name, box = parts.regions.labels[index], parts.regions.boxes[index]
        return Grounding(number, source, name, box, round(weight, DIGITS))
    seen: Sequence[Detection] = parts.tags or ()
    place = next((detection.box for detection in seen if detection.label == tags[index]), None)
    return Grounding(number, source, tags[index], place, round(weight, DIGITS))
