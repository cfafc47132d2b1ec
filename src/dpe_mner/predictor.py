"""The PyTorch back end of the pipeline: a model, the parts of posts' pictures, and explanations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dpe_mner.data.words import Words, words_of
from dpe_mner.decoding.candidates import Row, decode
from dpe_mner.explain.collect import Explanation, explain, ground, merge_explanations
from dpe_mner.explain.influence import span_influence
from dpe_mner.pictures.kinds import PictureParts
from dpe_mner.pictures.source import PictureSource
from dpe_mner.pipeline import (
    CHUNK,
    PredictionOptions,
    chunks,
    empty_warning,
    merge_windows,
    run_windows,
    unused_picture,
)
from dpe_mner.reasoning.decode import step_candidates
from dpe_mner.reasoning.trace import Reasoner, ReasoningTrace
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.collate import collate
from dpe_mner.representations.padding import PAD, groups_of_like_shape
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.representations.windows import Window, WindowTokenizer
from dpe_mner.types import Post, Prediction

_PICTURE_CHUNK = 256  # posts with pictures go in shorter stretches: features take a few hundred times the room
_NO_PICTURES = (
    "this model was trained on captions and tags: name a captioner (--picture-model caption=MODEL) to have one made"
)


class Predictor:
    """Predict entities with a model.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer with windows.
        pictures: Makes the parts of posts' pictures; without it pictures are not used, with a warning.
    """

    def __init__(self, model: Reasoner, tokenizer: WindowTokenizer, pictures: PictureSource | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.pictures = pictures

    def __call__(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        """Predictions in input order, computed a chunk of posts at a time."""
        for chunk in chunks(posts, CHUNK if self.pictures is None else _PICTURE_CHUNK):
            yield from self._chunk(chunk, options)

    def _chunk(self, posts: list[Post], options: PredictionOptions) -> list[Prediction]:
        parts = [PictureParts() for _ in posts]
        if self.pictures is not None:
            illustrated = self.pictures(posts)
            posts, parts = [found.post for found in illustrated], [found.parts for found in illustrated]
        words = [words_of(post) for post in posts]
        images = [features_of(part) for part in parts]
        found = run_windows(
            posts,
            words,
            lambda windows: self._batch(windows, images, options),
            tokenizer=self.tokenizer,
            batch_size=options.batch_size,
            blocks=[blocks_of(image) for image in images],
        )
        return [self._merge(post, words[i], found[i], parts[i]) for i, post in enumerate(posts)]

    def _batch(
        self, windows: list[Window], images: Sequence[PostFeatures], options: PredictionOptions
    ) -> list[_WindowResult]:
        model = self.model

        def reason(windows: list[Window], seen: Sequence[PostFeatures]) -> ReasoningTrace:
            batch = collate_windows(windows, pad_id=self.tokenizer.pad_id, images=seen).to(model.device)
            return model.reason(batch, seed=options.seed, steps=options.steps, spans=options.spans)

        seen = [images[window.post] for window in windows]
        trace = reason(windows, seen)
        rows = decode_trace(model, trace, threshold=options.threshold)
        explained: Sequence[Explanation | None] = [None] * len(windows)
        if options.explain:
            settings = model.settings
            moved = span_influence(windows, seen, trace, tokenizer=self.tokenizer, settings=settings, reason=reason)
            explained = explain(model, trace, moved)
        return [_WindowResult(*found) for found in zip(rows, explained, strict=True)]

    def _merge(
        self, post: Post, words: Words, results: list[tuple[Window, _WindowResult]], parts: PictureParts
    ) -> Prediction:
        labels = self.model.config.label_names
        entities = merge_windows(words, [(window, result.rows) for window, result in results], labels)
        extra: dict[str, Any] = {}
        explained = [(window, r.explanation) for window, r in results if r.explanation is not None]
        if explained:
            extra = merge_explanations(words, explained, labels)
            extra["grounding"] = ground(entities, explained, parts, post.tags or ())
        warnings = [*_warnings(post, words, pictures=self.pictures is not None), *parts.warnings]
        return Prediction(id=post.id, text=words.text, entities=entities, warnings=warnings, **extra)


@dataclass(frozen=True)
class _WindowResult:
    rows: list[Row]
    explanation: Explanation | None


def features_of(parts: PictureParts) -> PostFeatures:
    """What a batch takes of a picture's parts, as tensors; a picture without a region has no y_f."""
    coarse = None if parts.grid is None else torch.from_numpy(parts.grid).float()
    regions = parts.regions
    if regions is None or not len(regions.features):
        return PostFeatures(coarse, objects=parts.objects)
    fine = torch.from_numpy(regions.features).float().flatten(0, 1)
    return PostFeatures(coarse, fine, parts.objects, regions.phrases)


def blocks_of(features: PostFeatures) -> tuple[int, ...]:
    """Sizes of a post's image features; batches hold posts of equal sizes."""
    return tuple(0 if part is None else len(part) for part in (features.coarse, features.fine))


def batches_of_like_shape(windows: Sequence[Window], batch_size: int) -> Iterator[list[Window]]:
    """See :func:`~dpe_mner.representations.padding.groups_of_like_shape`."""
    return groups_of_like_shape(windows, batch_size)


def collate_windows(windows: Sequence[Window], *, pad_id: int, images: Sequence[PostFeatures] | None = None) -> Batch:
    """A batch padded as prediction pads it."""
    return collate(windows, pad_id=pad_id, images=images, multiple=PAD)


def decode_trace(model: Reasoner, trace: ReasoningTrace, *, threshold: float | None = None) -> list[list[Row]]:
    """The entities of each window of a batch; the threshold is the checkpoint's when not given."""
    settings = model.settings
    decision = settings.decision
    if threshold is not None:
        decision = decision.model_copy(update={"threshold": threshold})
    steps = [step_candidates(step.output, settings.heads).on_host() for step in trace.steps]
    return decode(steps, decision, combine=settings.reasoning.combine)


def _warnings(post: Post, words: Words, *, pictures: bool) -> list[str]:
    return [*empty_warning(words), *([] if pictures else unused_picture(post, _NO_PICTURES))]
