"""Predict with an exported model. Needs numpy, onnxruntime and tokenizers, not PyTorch.

>>> from dpe_mner.onnx.runtime import OnnxModel
>>> OnnxModel("exported").predict("Kevin Durant enters Oracle Arena")  # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpe_mner.data.entities import ScoredSpan, make_entity, without_overlap
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.inputs import PostLike, as_posts
from dpe_mner.representations.padding import PAD, groups_of_like_shape, padded, round_up
from dpe_mner.representations.pieces import PieceEncoder, Window
from dpe_mner.representations.tokenizer import PlainTokenizer
from dpe_mner.settings import EncoderSettings
from dpe_mner.types import Entity, Post

FORMAT = 2
_DIGITS = 3

Row = tuple[int, int, int, float]  # first word, last word, class, score


class OnnxModel:
    """An exported predictor.

    Args:
        folder: Written by ``dpe-mner export``.
        threads: Of onnxruntime; its own choice when not given.

    Raises:
        InputError: If the folder is no export, or onnxruntime is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError("an exported model needs onnxruntime; pip install onnxruntime") from None
        path = Path(folder)
        for name in ("model.onnx", "runtime.json", "tokenizer.json"):
            if not (path / name).is_file():
                raise InputError(f"{path}: no {name}; give a folder written by 'dpe-mner export'")
        self.card: dict[str, Any] = json.loads((path / "runtime.json").read_text(encoding="utf-8"))
        if self.card.get("format") != FORMAT:
            raise InputError(f"{path}/runtime.json: format {self.card.get('format')}, expected {FORMAT}; export anew")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                str(path / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has kinds of its own for every fault of a file
            reason = str(error).strip().splitlines()[0][:200]
            raise InputError(f"{path}/model.onnx: cannot be loaded ({reason})") from None
        tokenizer = PlainTokenizer(
            str(path / "tokenizer.json"), pad_id=self.card["pad_id"], unknown_id=self.card["unknown_id"]
        )
        self.pieces = PieceEncoder(
            tokenizer, EncoderSettings.model_validate(self.card["encoder"]), max_pieces=self.card["max_pieces"]
        )
        self.noise = np.array(self.card["noise"], dtype=np.float32)
        self.taken = {given.name for given in self.session.get_inputs()}

    def predict(
        self,
        post: PostLike | Iterable[PostLike],
        *,
        caption: str | None = None,
        tags: Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> Any:
        """Entities of one post or of many, as :meth:`dpe_mner.DPEMNERModel.predict` gives them.

        Args:
            post: A text, a list of words, a :class:`~dpe_mner.Post`, or an iterable of those.
            caption: Caption of a single post's picture.
            tags: Objects in a single post's picture.
            batch_size: Posts computed together.

        Returns:
            ``list[Entity]``, for an iterable a list of those.
        """
        posts, single = as_posts(post, caption=caption, tags=tags)
        answers = self._predict(list(posts), batch_size)
        return answers[0] if single else answers

    def _predict(self, posts: Sequence[Post], batch_size: int) -> list[list[Entity]]:
        words = [words_of(post) for post in posts]
        windows = [w for i, post in enumerate(posts) for w in self.pieces.windows(post, words[i], index=i)]
        found: list[list[ScoredSpan]] = [[] for _ in posts]
        labels = self.card["labels"]
        for batch in groups_of_like_shape(windows, batch_size):
            for window, rows in zip(batch, self._batch(batch), strict=True):
                low, high = window.owned
                for left, right, label, score in rows:
                    first, last = window.first + left, window.first + right
                    if low <= first < high:
                        found[window.post].append((first, last, labels[label - 1], score))
        return [[make_entity(words[i], *span) for span in without_overlap(spans)] for i, spans in enumerate(found)]

    def _batch(self, windows: Sequence[Window]) -> list[list[Row]]:
        lengths = np.array([len(window.words) for window in windows], dtype=np.int64)
        M = round_up(max(int(lengths.max()), 1), PAD)
        N = max(self.card["spans"], round(self.card["spans_per_word"] * M))
        pad_id = self.pieces.pad_id
        text = padded([window.text for window in windows], pad_id=pad_id, multiple=PAD)
        assert text is not None
        ids, mask, index, shapes = text
        feed: dict[str, NDArray[Any]] = {
            "ids": ids,
            "mask": mask,
            "word_index": index,
            "shapes": shapes,
            "word_mask": np.arange(M)[None, :] < lengths[:, None],
            "lengths": lengths,
            "noise": self.noise[:N],
        }
        for name, parts in (("caption", [w.caption for w in windows]), ("tag", [w.tags for w in windows])):
            seen = padded(parts, pad_id=pad_id, multiple=PAD)
            empty = np.zeros((len(windows), 1), dtype=np.int64)
            feed[f"{name}_ids"] = seen[0] if seen is not None else empty + pad_id
            feed[f"{name}_mask"] = seen[1] if seen is not None else empty.astype(bool)
            feed[f"{name}_index"] = seen[2] if seen is not None else empty - 1
            feed[f"{name}_shapes"] = seen[3] if seen is not None else empty
        # An input that the graph does not need (shapes of an encoder without them) was dropped by the exporter.
        spans, kinds, scores = self.session.run(None, {k: v for k, v in feed.items() if k in self.taken})
        thresholds = np.array(self.card["thresholds"], dtype=np.float32)
        combine = self.card["combine"]
        if combine == "last":
            spans, kinds, scores = spans[:, -1:], kinds[:, -1:], scores[:, -1:]
        return [choose(*row, thresholds, combine=combine) for row in zip(spans, kinds, scores, strict=True)]


def choose(
    spans: NDArray[np.int64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    *,
    combine: str = "mean",
) -> list[Row]:
    """The entities of one post: the mean or maximum over the steps, best first, none overlapping a better one.

    Args:
        spans: First and last word. *Shape:* (gamma, N, 2)
        labels: *Shape:* (gamma, N)
        scores: *Shape:* (gamma, N)
        thresholds: Least score of each class. *Shape:* (C,)
        combine: ``mean`` or ``max``; with ``last`` there is one step.
    """
    steps = len(scores)
    best: dict[tuple[int, int, int], NDArray[np.float32]] = {}
    for step, slot in zip(*np.nonzero(scores > 0), strict=True):
        key = (int(spans[step, slot, 0]), int(spans[step, slot, 1]), int(labels[step, slot]))
        by_step = best.setdefault(key, np.zeros(steps, dtype=np.float32))
        by_step[step] = max(by_step[step], scores[step, slot])
    total = (lambda by_step: by_step.max()) if combine == "max" else (lambda by_step: by_step.mean(dtype=np.float32))
    ranked = sorted((-float(total(by_step)), key) for key, by_step in best.items())
    kept: list[Row] = []
    for negative, (left, right, label) in ranked:
        score = np.float32(-negative)
        if score >= thresholds[label] and all(right < a or left > b for a, b, _, _ in kept):
            kept.append((left, right, label, round(min(float(score), 1.0), _DIGITS)))
    return sorted(kept)
