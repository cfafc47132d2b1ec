"""Predict with an exported model. Needs numpy, onnxruntime and tokenizers, not PyTorch.

>>> from dpe_mner.onnx.runtime import OnnxModel
>>> OnnxModel("exported").predict("Kevin Durant enters Oracle Arena")  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpe_mner.checkpoints.removed import without_removed
from dpe_mner.checkpoints.whole import check_finite, check_hashes, read_json
from dpe_mner.data.conventions import convention_number, with_convention
from dpe_mner.decoding.candidates import Candidates, Row, decode
from dpe_mner.errors import InputError, needs_torch
from dpe_mner.pipeline import PredictionOptions, Predicts, predictions_of
from dpe_mner.representations.padding import PAD, padded, round_up
from dpe_mner.representations.tokenizer import VOCABULARY, PlainTokenizer, check_vocabulary
from dpe_mner.representations.windows import Window, WindowTokenizer
from dpe_mner.settings import Convention, DecisionSettings, EncoderSettings, parse_section
from dpe_mner.types import Post, Prediction

FORMAT = 3
GRAPH, CARD, WEIGHTS = "model.onnx", "runtime.json", "model.safetensors"
_CARD: dict[str, type | tuple[type, ...]] = {  # what every runtime.json holds
    "labels": list,
    "threshold": (int, float),
    "combine": str,
    "steps": int,
    "seed": int,
    "spans": int,
    "spans_per_word": (int, float),
    "noise": list,
    "encoder": dict,
    "max_pieces": int,
    "pad_id": int,
    "unknown_id": (int, type(None)),
}
_TORCH = "pip install 'dpe-mner[torch]' for a checkpoint without one"
_NO_PICTURES = (
    "an exported model reads captions and tags: give a caption, or have one made with PyTorch "
    "(pip install 'dpe-mner[torch]', then --picture-model caption=MODEL)"
)


class OnnxModel(Predicts):
    """An exported predictor.

    Args:
        folder: Written by ``dpe-mner export``.
        threads: Of onnxruntime; its own choice when not given.

    Raises:
        InputError: If the folder is no export, or onnxruntime is missing.
    """

    pictures = None  # it reads captions and tags, and makes none

    def __init__(self, folder: str | os.PathLike[str], *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError("an exported model needs onnxruntime; pip install onnxruntime") from None
        path = Path(folder)
        for name in (GRAPH, CARD, VOCABULARY):
            if not (path / name).is_file():
                raise InputError(f"{path}: no {name}; give a folder written by 'dpe-mner export', or {_TORCH}")
        self.folder, self.threads = path, threads
        self.card = _read_card(path)
        _check_files(path, self.card)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path / GRAPH), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has kinds of its own for every fault of a file
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"{path / GRAPH}: cannot be loaded ({reason})") from None
        try:
            tokenizer = PlainTokenizer(
                str(path / VOCABULARY), pad_id=self.card["pad_id"], unknown_id=self.card["unknown_id"]
            )
        except Exception as error:  # tokenizers raises bare Exceptions
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: no usable tokenizer ({reason[:200]})") from None
        check_vocabulary(tokenizer, path, size=self.card.get("vocabulary_size"), rows=None)
        where = f"{path}/{CARD}"
        encoder = without_removed({"encoder": self.card["encoder"]}, where=where, version=None)["encoder"]
        self.tokenizer = WindowTokenizer(
            tokenizer, parse_section(EncoderSettings, encoder, where=where), max_pieces=self.card["max_pieces"]
        )
        self.tokenizer.conventions = tuple(self.conventions)
        keys = DecisionSettings.model_fields.keys() & self.card.keys()
        self.decision = parse_section(DecisionSettings, {key: self.card[key] for key in keys}, where=where)
        self.noise = np.array(self.card["noise"], dtype=np.float32)
        self.taken = {given.name for given in self.session.get_inputs()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the folder it was read from, which must be there where it is unpickled."""
        return _restored, (str(self.folder.absolute()), self.threads)

    @property
    def labels(self) -> list[str]:
        """Entity types, in the order of the classes 1 .. C-1."""
        return list(self.card["labels"])

    @property
    def annotation_conventions(self) -> list[Convention]:
        """Annotation conventions of the corpora it was trained on, the default first."""
        return [parse_section(Convention, each, where="runtime.json") for each in self.card.get("conventions", ())]

    @property
    def usual(self) -> tuple[int, int]:
        """Steps and spans, which the export fixed."""
        return self.card["steps"], self.card["spans"]

    def predictions(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        """Predictions in input order.

        Raises:
            InputError: If the options ask for what an export cannot do.
        """
        self._refuse(options)
        convention_number(options.convention, self.conventions)
        return predictions_of(
            with_convention(posts, options.convention),
            self._batch,
            tokenizer=self.tokenizer,
            labels=self.labels,
            batch_size=options.batch_size,
            no_pictures=_NO_PICTURES,
        )

    def _refuse(self, options: PredictionOptions) -> None:
        fixed = {
            "explain": options.explain,
            f"steps={options.steps}": options.steps not in (None, self.card["steps"]),
            f"spans={options.spans}": options.spans not in (None, self.card["spans"]),
            f"seed={options.seed}": options.seed != self.card["seed"],
            f"threshold={options.threshold}": options.threshold is not None,
        }
        for asked, differs in fixed.items():
            if differs:
                raise needs_torch(f"{asked}: fixed in an exported model, which")

    def _batch(self, windows: Sequence[Window]) -> list[list[Row]]:
        lengths = np.array([len(window.words) for window in windows], dtype=np.int64)
        M = round_up(max(int(lengths.max()), 1), PAD)
        N = max(self.card["spans"], round(self.card["spans_per_word"] * M))
        pad_id = self.tokenizer.pad_id
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
            "convention": np.array([window.convention for window in windows], dtype=np.int64),
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
        if np.isnan(scores).any():
            raise InputError(f"{self.folder}: its scores are no numbers; the weights are damaged, export anew")
        steps = [Candidates(*(part[:, k] for part in (spans, kinds, scores))) for k in range(scores.shape[1])]
        return decode(steps, self.decision, combine=self.card["combine"])


def _restored(folder: str, threads: int | None) -> OnnxModel:
    return OnnxModel(folder, threads=threads)


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    card = read_json(path)
    if card.get("format") != FORMAT:
        raise InputError(f"{path}: format {card.get('format')}, expected {FORMAT}; export anew")
    for name, kind in _CARD.items():
        if not isinstance(card.get(name), kind):
            raise InputError(f"{path}: {name} is missing or of the wrong kind; export anew")
    return card


def _check_files(folder: Path, card: dict[str, Any]) -> None:
    """Refuse files that are damaged, or of another model than the graph."""
    hashes = card.get("sha256")
    if isinstance(hashes, dict):
        check_hashes(folder, hashes)
    elif (folder / WEIGHTS).is_file():  # written before exports noted their files
        check_finite(folder / WEIGHTS)
