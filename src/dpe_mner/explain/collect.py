"""What an explanation says, collected from reasoning traces: steps, weights, relevance, sources, grounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpe_mner.data.entities import make_entity
from dpe_mner.data.words import Words, split_text
from dpe_mner.decoding.candidates import DIGITS, Row, calibrated_scores, merge_steps, rows_of
from dpe_mner.explain.sources import LEAST_INFLUENCE
from dpe_mner.explain.starts import StartRow, start_rows, start_spans
from dpe_mner.fusion.text_level import gap_weight, grain_weight
from dpe_mner.pictures.kinds import Box, Detection, PictureParts
from dpe_mner.reasoning.decode import step_candidates
from dpe_mner.reasoning.grounding import FineAttention, Source, best_source, fine_attention
from dpe_mner.reasoning.trace import Reasoner, ReasoningTrace
from dpe_mner.representations.windows import Window
from dpe_mner.settings import FusionSettings
from dpe_mner.types import Entity, Grounding, ReasoningStep

_STEP_CANDIDATES = 8  # shown of each step, when their score is not negligible; sure ones are all shown
_SHOWN_SCORE = 0.05
_SURE_SCORE = 0.5
_GRAINS = ("coarse", "fine")  # in the order of the last dimension of every relevance


@dataclass(frozen=True)
class Explanation:
    """What is kept of one window's trace.

    Attributes:
        steps: Candidates of each step.
        starts: What each step started from.
        times: t of each step.
        weights: Of image2text against image and of coarse against fine, at each step.
        span_relevance: Mean over the spans, coarse and fine, at each step.
        relevance: Coarse and fine, of each text level that has a gate; None without one.
        present: Which representations there were.
        influence: How far the answer's logits move when a grain is exchanged; only grains that are present.
        last_relevance: Of each span of the last step, coarse and fine.
        fine_influence: How far the logits of each span move when the fine grain is exchanged.
        attention: Of the batch's spans to the fine grain.
        row: The window's in it.
    """

    steps: list[list[Row]]
    starts: list[list[StartRow]]
    times: list[int]
    weights: list[tuple[float, float]]
    span_relevance: list[list[float]] | None
    relevance: dict[str, list[float] | None]
    present: dict[str, bool]
    influence: dict[str, float]
    last_relevance: list[list[float]]
    fine_influence: list[float]
    attention: FineAttention | None
    row: int


def explain(model: Reasoner, trace: ReasoningTrace, influence: Mapping[str, Tensor]) -> list[Explanation]:
    """An explanation of each post of a batch.

    Args:
        model: What reasoned.
        trace: How.
        influence: From :func:`~dpe_mner.explain.influence.span_influence`.
    """
    settings = model.settings
    steps, weights = [], []
    for step, s in zip(trace.steps, trace.context.s, strict=True):
        ranked = merge_steps([step_candidates(step.output, settings.heads).on_host()], combine="last")
        ranked = replace(ranked, scores=calibrated_scores(ranked.scores, settings.decision))
        first = np.arange(ranked.scores.shape[1]) < _STEP_CANDIDATES
        shown = (ranked.scores >= _SHOWN_SCORE) & first | (ranked.scores >= _SURE_SCORE)
        steps.append(rows_of(ranked, shown))
        gap, grain = gap_weight(s[:1], settings.fusion), grain_weight(s[:1], settings.fusion)
        # Without priorities nothing is scheduled: the parts stand side by side, coarse and fine too.
        weights.append((0.5, 0.5) if gap is None else (float(gap), float(grain)))
    starts = [start_rows(step) for step in trace.steps]
    parts = {
        "y_c": trace.visual["c"].image.present,
        "y_ct": trace.visual["c"].image2text.present,
        "y_f": trace.visual["f"].image.present,
        "y_ft": trace.visual["f"].image2text.present,
    }
    present = {name: flags.tolist() for name, flags in parts.items()}
    there = {"coarse": trace.visual["c"].present.tolist(), "fine": trace.visual["f"].present.tolist()}
    moved = {name: spans.amax(-1).tolist() for name, spans in influence.items()}
    token, sentence, span = _gates(settings.fusion)
    span_relevance = torch.stack([step.relevance.mean(1) for step in trace.steps], dim=1).tolist()
    relevance = trace.context.relevance.tolist()
    last_relevance = trace.steps[-1].relevance.tolist()
    fine_influence = influence["fine"].tolist()
    attention = fine_attention(model, trace)
    return [
        Explanation(
            steps=[rows[b] for rows in steps],
            starts=[rows[b] for rows in starts],
            times=trace.times,
            weights=weights,
            span_relevance=span_relevance[b] if span else None,
            relevance={
                "token": relevance[b][0] if token else None,
                "sentence": relevance[b][1] if sentence else None,
                "span": span_relevance[b][-1] if span else None,
            },
            present={"x_t": True, "x_g": True, "x_s": True} | {name: flags[b] for name, flags in present.items()},
            influence={name: round(moved[name][b], DIGITS) for name in _GRAINS if there[name][b]},
            last_relevance=last_relevance[b],
            fine_influence=fine_influence[b],
            attention=attention,
            row=b,
        )
        for b in range(len(relevance))
    ]


def _gates(fusion: FusionSettings) -> tuple[bool, bool, bool]:
    """Whether words, sentence and spans have a relevance (Tables 2 and 3)."""
    there = fusion.levels if fusion.strategy == "dynamic" else ()
    return "t" in there, "g" in there, "s" in there


def merge_explanations(
    words: Words, windows: Sequence[tuple[Window, Explanation]], labels: Sequence[str]
) -> dict[str, Any]:
    """The explanation of a post.

    Of several windows the steps are joined; the influence of a grain, and its relevance, are those of the window whose
    answer it moves most. A grain that moves none has no relevance.
    """
    explanations = [explanation for _, explanation in windows]
    first = explanations[0]
    most = {
        name: max((one for one in explanations if name in one.influence), key=lambda one: one.influence[name])
        for name in _GRAINS
        if name in first.influence
    }
    shown = {name: one for name, one in most.items() if one.influence[name] >= LEAST_INFLUENCE}
    steps = []
    for k, time in enumerate(first.times):
        candidates = [
            make_entity(words, window.first + left, window.first + right, labels[label - 1], score)
            for window, explanation in windows
            for left, right, label, score in explanation.steps[k]
        ]
        gap, grain = first.weights[k]
        of_spans = {name: one.span_relevance[k] for name, one in shown.items() if one.span_relevance is not None}
        weights = round(gap, DIGITS), round(grain, DIGITS)
        starts = start_spans(words, [(window, explanation.starts[k]) for window, explanation in windows], labels)
        steps.append(ReasoningStep(k + 1, time, candidates, *weights, _rounded(of_spans), starts))
    relevance = {
        i: _rounded({name: found for name, one in shown.items() if (found := one.relevance[i]) is not None})
        for i in first.relevance
    }
    influence = {name: one.influence[name] for name, one in most.items()}
    return {"steps": steps, "relevance": relevance, "representations": dict(first.present), "influence": influence}


def _rounded(relevance: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The relevance of each grain out of pairs of coarse and fine."""
    return {name: round(pair[_GRAINS.index(name)], DIGITS) for name, pair in relevance.items()}


def ground(
    entities: Sequence[Entity],
    windows: Sequence[tuple[Window, Explanation]],
    parts: PictureParts,
    tags: Sequence[str],
) -> list[Grounding]:
    """The region or tag each entity looked at most.

    An entity has none whose span cannot be told from the last step, is not moved by the fine grain, or looks at
    everything nearly alike.
    """
    found = []
    for number, entity in enumerate(entities):
        for window, explanation in windows:
            low, high = window.owned
            attention = explanation.attention
            if attention is None or not low <= entity.word_start < high:
                continue
            left, right = entity.word_start - window.first, entity.word_end - 1 - window.first
            span = attention.span_of(explanation.row, left, right)
            if span is None or explanation.fine_influence[span] < LEAST_INFLUENCE:
                continue
            best = best_source(_sources(attention, explanation.row, span, window, parts, tags))
            if best is not None:
                relevance = explanation.last_relevance[span][_GRAINS.index("fine")]
                found.append(_grounding(number, best, relevance, parts, tags))
    return found


def _sources(
    attention: FineAttention, row: int, span: int, window: Window, parts: PictureParts, tags: Sequence[str]
) -> list[Source]:
    """All regions and tags with their shares of a span's attention."""
    shares, even = attention.shares[row, span].tolist(), attention.even[row].tolist()
    cut = attention.regions
    of_tags, even_tags = (_tag_weights(all_[cut:], window, tags, by_word=attention.by_word) for all_ in (shares, even))
    found = []
    for kind, of_span, of_even in (
        ("region", _region_weights(shares[:cut], parts), _region_weights(even[:cut], parts)),
        ("tag", of_tags, even_tags),
    ):
        for index, (share, level) in enumerate(zip(of_span, of_even, strict=True)):
            if level > 0:  # a tag after what the encoder reads has none
                found.append(Source(kind, index, share, share / level))
    return found


def _region_weights(blocks: Sequence[float], parts: PictureParts) -> list[float]:
    """Blocks summed by region."""
    if parts.regions is None or not len(parts.regions.features):
        return []
    size = parts.regions.features.shape[1]
    return [sum(blocks[k : k + size]) for k in range(0, size * len(parts.regions.features), size)]


def _tag_weights(places: Sequence[float], window: Window, tags: Sequence[str], *, by_word: bool) -> list[float]:
    """Places summed by tag; a tag may have several words, a word several pieces."""
    owner = [k for k, tag in enumerate(tags) for _ in split_text(tag).words]
    weights = [0.0] * len(tags)
    if window.tags is None:
        return weights
    words = range(max(window.tags.word_index) + 1) if by_word else window.tags.word_index
    for weight, word in zip(places, words, strict=False):
        if 0 <= word < len(owner):
            weights[owner[word]] += weight
    return weights


def _grounding(number: int, best: Source, relevance: float, parts: PictureParts, tags: Sequence[str]) -> Grounding:
    box: Box | None
    if best.kind == "region" and parts.regions is not None:
        name, box = parts.regions.labels[best.index], parts.regions.boxes[best.index]
    else:
        seen: Sequence[Detection] = parts.tags or ()
        name = tags[best.index]
        box = next((detection.box for detection in seen if detection.label == name), None)
    numbers = (round(value, DIGITS) for value in (best.share, best.lift, relevance))
    return Grounding(number, best.kind, name, box, *numbers)
