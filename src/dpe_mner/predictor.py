"""Posts in, predictions out: windows, batches of like shape, reasoning, decoding, merging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from dpe_mner.data.entities import make_entity, without_overlap
from dpe_mner.data.words import Words, words_of
from dpe_mner.errors import InputError
from dpe_mner.explain.collect import Explanation, explain, ground, merge_explanations
from dpe_mner.explain.influence import span_influence
from dpe_mner.pictures.kinds import PictureParts
from dpe_mner.pictures.opening import picture_name
from dpe_mner.pictures.source import PictureSource
from dpe_mner.reasoning.decode import Candidates, choose, merge_steps, step_candidates
from dpe_mner.reasoning.rows import Row, rows_of
from dpe_mner.reasoning.trace import Reasoner, ReasoningTrace
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.collate import collate
from dpe_mner.representations.padding import PAD, groups_of_like_shape
from dpe_mner.representations.pieces import PieceEncoder, Window
from dpe_mner.types import Entity, Post, Prediction

_CHUNK = 2048  # posts sorted by length together; results come out in order after each chunk
_PICTURE_CHUNK = 256  # the same with pictures, whose features take a few hundred times the room


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
        pictures: Makes the parts of posts' pictures; without it pictures are not used, with a warning.
    """

    def __init__(self, model: Reasoner, pieces: PieceEncoder, pictures: PictureSource | None = None) -> None:
        self.model = model
        self.pieces = pieces
        self.pictures = pictures

    def __call__(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        """Predictions in input order, computed a chunk of posts at a time."""
        stream = iter(posts)
        size = _CHUNK if self.pictures is None else _PICTURE_CHUNK
        while chunk := list(islice(stream, size)):
            yield from self._chunk(chunk, options)

    def _chunk(self, posts: list[Post], options: PredictionOptions) -> list[Prediction]:
        parts = [PictureParts() for _ in posts]
        if self.pictures is not None:
            illustrated = self.pictures(posts)
            posts, parts = [found.post for found in illustrated], [found.parts for found in illustrated]
        words = [words_of(post) for post in posts]
        windows = [w for i, post in enumerate(posts) for w in self.pieces.windows(post, words[i], index=i)]
        found: dict[int, list[_WindowResult]] = defaultdict(list)
        images = [features_of(part) for part in parts]
        for batch in batches_of_like_shape(windows, options.batch_size, images):
            for window, result in zip(batch, self._batch(batch, images, options), strict=True):
                found[window.post].append(result)
        return [self._merge(post, words[i], found[i], parts[i]) for i, post in enumerate(posts)]

    def _batch(
        self, windows: list[Window], images: Sequence[PostFeatures], options: PredictionOptions
    ) -> list[_WindowResult]:
        model = self.model

        def reason(windows: list[Window], seen: Sequence[PostFeatures]) -> ReasoningTrace:
            batch = collate_windows(windows, pad_id=self.pieces.pad_id, images=seen).to(model.device)
            return model.reason(batch, seed=options.seed, steps=options.steps, spans=options.spans)

        seen = [images[window.post] for window in windows]
        trace = reason(windows, seen)
        candidates, chosen = decode_trace(model, trace, threshold=options.threshold)
        kept = rows_of(candidates, chosen)
        explained: Sequence[Explanation | None] = [None] * len(windows)
        if options.explain:
            settings = model.settings
            moved = span_influence(windows, seen, trace, pieces=self.pieces, settings=settings, reason=reason)
            explained = explain(model, trace, moved)
        return [
            _WindowResult(window, rows, explanation)
            for window, rows, explanation in zip(windows, kept, explained, strict=True)
        ]

    def _merge(self, post: Post, words: Words, results: list[_WindowResult], parts: PictureParts) -> Prediction:
        labels = self.model.config.label_names
        results = sorted(results, key=lambda result: result.window.first)
        entities = merge_windows(words, [(result.window, result.rows) for result in results], labels)
        extra: dict[str, Any] = {}
        explained = [(r.window, r.explanation) for r in results if r.explanation is not None]
        if explained:
            extra = merge_explanations(words, explained, labels)
            extra["grounding"] = ground(entities, explained, parts, post.tags or ())
        warnings = [*_warnings(post, words, pictures=self.pictures is not None), *parts.warnings]
        return Prediction(id=post.id, text=words.text, entities=entities, warnings=warnings, **extra)


def merge_windows(words: Words, results: Iterable[tuple[Window, Sequence[Row]]], labels: Sequence[str]) -> list[Entity]:
    """Entities of a post from what was found in each of its windows: a window answers for the words it owns."""
    spans: list[tuple[int, int, str, float]] = []
    for window, rows in results:
        low, high = window.owned
        for left, right, label, score in rows:
            first, last = window.first + left, window.first + right
            if low <= first < high:
                spans.append((first, last, labels[label - 1], score))
    return [make_entity(words, *span) for span in without_overlap(spans)]


@dataclass(frozen=True)
class _WindowResult:
    window: Window
    rows: list[Row]
    explanation: Explanation | None


PostFeatures = tuple[Tensor | None, Tensor | None]  # y_c (G, channels) and y_f (R * blocks, channels)


def features_of(parts: PictureParts) -> PostFeatures:
    """The image features among a picture's parts, as tensors; a picture without a region has no y_f."""
    coarse = None if parts.grid is None else torch.from_numpy(parts.grid).float()
    if parts.regions is None or not len(parts.regions.features):
        return coarse, None
    return coarse, torch.from_numpy(parts.regions.features).float().flatten(0, 1)


def batches_of_like_shape(
    windows: Sequence[Window], batch_size: int, images: Sequence[PostFeatures] | None = None
) -> Iterator[list[Window]]:
    """See :func:`~dpe_mner.representations.padding.groups_of_like_shape`; ``images`` are features of each post."""
    blocks = None
    if images is not None:
        blocks = [tuple(0 if part is None else len(part) for part in seen) for seen in images]
    return groups_of_like_shape(windows, batch_size, blocks)


def collate_windows(windows: Sequence[Window], *, pad_id: int, images: Sequence[PostFeatures] | None = None) -> Batch:
    """A batch padded as prediction pads it."""
    return collate(windows, pad_id=pad_id, images=images, multiple=PAD)


def decode_trace(
    model: Reasoner, trace: ReasoningTrace, *, threshold: float | None = None
) -> tuple[Candidates, Tensor]:
    """Candidates of a reasoning trace and which of them are entities."""
    settings = model.settings
    candidates = [step_candidates(step.output, settings.heads) for step in trace.steps]
    merged = merge_steps(candidates, combine=settings.reasoning.combine)
    least = settings.decision.threshold if threshold is None else threshold
    by_class = [least] + [
        settings.decision.label_thresholds.get(label, least) if threshold is None else least
        for label in model.config.label_names
    ]
    return merged, choose(merged, torch.tensor(by_class))


def _warnings(post: Post, words: Words, *, pictures: bool) -> list[str]:
    warnings = []
    if not len(words):
        warnings.append("the post has no words")
    if post.image is not None and not pictures:
        name = picture_name(post.image)
        warnings.append(
            f"{name}: picture not used; this model was trained on captions and tags: name a captioner "
            "(--picture-model caption=MODEL) to have one made"
        )
    return warnings
