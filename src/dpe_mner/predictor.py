"""Posts in, predictions out: windows, batches of like shape, reasoning, decoding, merging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from dpe_mner.data.words import Words, words_of
from dpe_mner.errors import InputError
from dpe_mner.fusion.granularity import gap_weight, grain_weight
from dpe_mner.reasoning.decode import Candidates, choose, merge_steps, sort_candidates, step_candidates
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.reasoning.trace import Reasoner, ReasoningTrace
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.collate import collate, round_up
from dpe_mner.representations.pieces import PieceEncoder, Window
from dpe_mner.settings import Settings
from dpe_mner.types import Entity, Post, Prediction, ReasoningStep

_PAD = 8  # padded lengths are multiples of this, so that a post meets the same shapes in any batch
_CHUNK = 2048  # posts sorted by length together; results come out in order after each chunk
_DIGITS = 4  # of a score
_STEP_CANDIDATES = 8  # shown of each step in an explanation, when their score is not negligible
_SHOWN_SCORE = 0.05


@dataclass(frozen=True)
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

    def __post_init__(self) -> None:
        for name, most in (("steps", 1000), ("spans", 4096), ("batch_size", 65536)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise InputError(f"{name} must be from 1 to {most}, got {value}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be a whole number from 0, got {self.seed}")


class Predictor:
    """Predict entities with a model.

    Args:
        model: In evaluation mode.
        pieces: Its tokenizer with windows.
    """

    def __init__(self, model: Reasoner, pieces: PieceEncoder) -> None:
        self.model = model
        self.pieces = pieces

    def __call__(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        """Predictions in input order, computed a chunk of posts at a time."""
        stream = iter(posts)
        while chunk := list(islice(stream, _CHUNK)):
            yield from self._chunk(chunk, options)

    def _chunk(self, posts: list[Post], options: PredictionOptions) -> list[Prediction]:
        words = [words_of(post) for post in posts]
        windows = [w for i, post in enumerate(posts) for w in self.pieces.windows(post, words[i], index=i)]
        found: dict[int, list[_WindowResult]] = defaultdict(list)
        for batch in batches_of_like_shape(windows, options.batch_size):
            for window, result in zip(batch, self._batch(batch, options), strict=True):
                found[window.post].append(result)
        return [self._merge(post, words[i], found[i]) for i, post in enumerate(posts)]

    def _batch(self, windows: list[Window], options: PredictionOptions) -> list[_WindowResult]:
        model = self.model
        batch = collate_windows(windows, pad_id=self.pieces.pad_id).to(model.device)
        trace = model.reason(batch, seed=options.seed, steps=options.steps, spans=options.spans)
        candidates, chosen = decode_trace(model, trace, threshold=options.threshold)
        kept = _Rows.of(candidates, chosen)
        explained = _explain(model, trace) if options.explain else [None] * len(windows)
        return [
            _WindowResult(window, rows, explanation)
            for window, rows, explanation in zip(windows, kept, explained, strict=True)
        ]

    def _merge(self, post: Post, words: Words, results: list[_WindowResult]) -> Prediction:
        labels = self.model.config.label_names
        results = sorted(results, key=lambda result: result.window.first)
        spans: list[tuple[int, int, str, float]] = []
        for result in results:
            low, high = result.window.owned
            for left, right, label, score in result.rows:
                first, last = result.window.first + left, result.window.first + right
                if low <= first < high:
                    spans.append((first, last, labels[label - 1], score))
        entities = [make_entity(words, *span) for span in _without_overlap(spans)]
        extra: dict[str, Any] = {}
        if results and results[0].explanation is not None:
            extra = _merge_explanations(words, results, labels)
        return Prediction(id=post.id, text=words.text, entities=entities, warnings=_warnings(post, words), **extra)


Row = tuple[int, int, int, float]  # first word, last word, class, score


class _Rows:
    """Candidates as Python rows, one device-to-host copy a batch."""

    @staticmethod
    def of(candidates: Candidates, keep: Tensor) -> list[list[Row]]:
        post, slot = keep.nonzero(as_tuple=True)
        spans = candidates.spans[post, slot].tolist()
        labels = candidates.labels[post, slot].tolist()
        scores = candidates.scores[post, slot].double().tolist()
        rows: list[list[Row]] = [[] for _ in range(keep.shape[0])]
        for owner, (left, right), label, score in zip(post.tolist(), spans, labels, scores, strict=True):
            rows[owner].append((left, right, label, round(min(max(score, 0.0), 1.0), _DIGITS)))
        return rows


@dataclass(frozen=True)
class _Explanation:
    steps: list[list[Row]]
    times: list[int]
    weights: list[tuple[float, float]]
    span_relevance: list[list[float]]
    relevance: list[list[float]]
    present: dict[str, bool]


@dataclass(frozen=True)
class _WindowResult:
    window: Window
    rows: list[Row]
    explanation: _Explanation | None


def batches_of_like_shape(windows: Sequence[Window], batch_size: int) -> Iterator[list[Window]]:
    """Windows whose padded shapes are equal, at most ``batch_size`` together.

    A post's shapes then depend on the post alone, which keeps its result the same in any company.
    """
    groups: dict[tuple[int, ...], list[Window]] = defaultdict(list)
    for window in windows:
        sizes = (len(window.text.ids), len(window.words), _length(window.caption), _length(window.tags))
        groups[tuple(round_up(size, _PAD) for size in sizes)].append(window)
    for key in sorted(groups):
        group = groups[key]
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def collate_windows(windows: Sequence[Window], *, pad_id: int) -> Batch:
    """A batch padded as prediction pads it."""
    return collate(windows, pad_id=pad_id, multiple=_PAD)


def _length(pieces: Any) -> int:
    return 0 if pieces is None else len(pieces.ids)


def decode_trace(
    model: Reasoner, trace: ReasoningTrace, *, threshold: float | None = None
) -> tuple[Candidates, Tensor]:
    """Candidates of a reasoning trace and which of them are entities."""
    settings = model.settings
    outputs = [step.output for step in trace.steps]
    if not settings.reasoning.ensemble:
        outputs = outputs[-1:]
    merged = merge_steps([_candidates(output, settings) for output in outputs])
    least = settings.decision.threshold if threshold is None else threshold
    by_class = [least] + [
        settings.decision.label_thresholds.get(label, least) if threshold is None else least
        for label in model.config.label_names
    ]
    return merged, choose(merged, torch.tensor(by_class))


def _candidates(output: ReasoningOutput, settings: Settings) -> Candidates:
    return step_candidates(output, boundary_loss=settings.heads.boundary_loss, tag_vote=settings.reasoning.tag_vote)


def make_entity(words: Words, first: int, last: int, label: str, score: float) -> Entity:
    """An entity with its characters."""
    start, end = words.starts[first], words.ends[last]
    return Entity(words.text[start:end], label, start, end, first, last + 1, score)


def _without_overlap(spans: list[tuple[int, int, str, float]]) -> list[tuple[int, int, str, float]]:
    """Windows may disagree where they meet: the better score stays. In order of position."""
    kept: list[tuple[int, int, str, float]] = []
    for span in sorted(spans):
        if kept and span[0] <= kept[-1][1]:
            if span[3] > kept[-1][3]:
                kept[-1] = span
            continue
        kept.append(span)
    return kept


def _explain(model: Reasoner, trace: ReasoningTrace) -> list[_Explanation | None]:
    settings = model.settings
    steps, weights = [], []
    for step, s in zip(trace.steps, trace.context.s, strict=True):
        ranked = sort_candidates(merge_steps([_candidates(step.output, settings)]))
        keep = (ranked.scores >= _SHOWN_SCORE) & (
            torch.arange(ranked.scores.shape[1], device=s.device) < _STEP_CANDIDATES
        )
        steps.append(_Rows.of(ranked, keep))
        gap = gap_weight(s[:1], settings.fusion)
        grain = grain_weight(s[:1], settings.fusion)
        weights.append((float(gap) if gap is not None else 0.5, float(grain)))
    parts = {
        "y_c": trace.visual["c"].image.present,
        "y_ct": trace.visual["c"].image2text.present,
        "y_f": trace.visual["f"].image.present,
        "y_ft": trace.visual["f"].image2text.present,
    }
    present = {name: flags.tolist() for name, flags in parts.items()}
    span_relevance = torch.stack([step.relevance for step in trace.steps], dim=1).tolist()
    relevance = trace.context.relevance.tolist()
    return [
        _Explanation(
            steps=[rows[b] for rows in steps],
            times=trace.times,
            weights=weights,
            span_relevance=span_relevance[b],
            relevance=[*relevance[b], span_relevance[b][-1]],
            present={"x_t": True, "x_g": True, "x_s": True} | {name: flags[b] for name, flags in present.items()},
        )
        for b in range(len(relevance))
    ]


def _merge_explanations(words: Words, results: list[_WindowResult], labels: Sequence[str]) -> dict[str, Any]:
    """The explanation of a post; of several windows the steps are joined, relevance is the first window's."""
    explanations = [r.explanation for r in results if r.explanation is not None]
    first = explanations[0]
    steps = []
    for k, time in enumerate(first.times):
        candidates = [
            make_entity(words, r.window.first + left, r.window.first + right, labels[label - 1], score)
            for r, e in zip(results, explanations, strict=True)
            for left, right, label, score in e.steps[k]
        ]
        gap, grain = first.weights[k]
        coarse, fine = first.span_relevance[k]
        relevance = {"coarse": round(coarse, _DIGITS), "fine": round(fine, _DIGITS)}
        steps.append(ReasoningStep(k + 1, time, candidates, round(gap, _DIGITS), round(grain, _DIGITS), relevance))
    names = ("token", "sentence", "span")
    by_text = {
        name: {"coarse": round(c, _DIGITS), "fine": round(f, _DIGITS)}
        for name, (c, f) in zip(names, first.relevance, strict=True)
    }
    return {"steps": steps, "relevance": by_text, "representations": dict(first.present)}


def _warnings(post: Post, words: Words) -> list[str]:
    warnings = []
    if not len(words):
        warnings.append("the post has no words")
    if post.image is not None:
        warnings.append(f"{post.image}: picture not used; this version reads captions and tags, not raw pictures")
    return warnings
