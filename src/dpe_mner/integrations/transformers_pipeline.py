"""``transformers.pipeline("dpe-mner", model=...)``; importing this module registers the task.

The import is needed: the pipelines of transformers know no entry points, and the other way they have, code beside the
weights of a checkpoint, runs only with ``trust_remote_code=True``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.pipelines import PIPELINE_REGISTRY, Pipeline

from dpe_mner.checkpoints.config import DPEMNERConfig
from dpe_mner.checkpoints.hub import bundled_folder, checkpoint_folder
from dpe_mner.checkpoints.loading import load_checkpoint
from dpe_mner.data.inputs import as_posts, is_table
from dpe_mner.data.table import post_of_row
from dpe_mner.errors import InputError, nearest
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import PredictionOptions, chunks, what_was_not_used
from dpe_mner.types import Entity, Post, Prediction

TASK = "dpe-mner"
_CHOICES = ("steps", "spans", "seed", "convention", "explain")  # of a call, or of all calls
_OF_THE_HUB = ("revision", "token", "cache_dir", "local_files_only")


class _Config(PreTrainedConfig):
    """What transformers reads of a checkpoint's ``config.json``, which it does before it asks for a model: nothing."""

    model_type = DPEMNERConfig.model_type

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **_: Any) -> _Config:
        return cls()


@dataclass(frozen=True)
class _Asked:
    """The checkpoint that transformers asks for, loaded by the pipeline.

    Were it loaded when asked for, transformers would catch an error, load once more, and show both tracebacks.
    """

    name: str
    dtype: str
    where: dict[str, Any]

    @classmethod
    def from_pretrained(cls, name: str, *, dtype: Any = "auto", **others: Any) -> _Asked:
        named = "float32" if dtype == "auto" else str(dtype).removeprefix("torch.")  # as for dpe_mner.load
        return cls(str(name), named, {key: others[key] for key in _OF_THE_HUB if others.get(key) is not None})

    def load(self) -> DPEMNERModel:
        return load_checkpoint(DPEMNERModel, str(checkpoint_folder(self.name, **self.where)), dtype=self.dtype)


class DPEMNERPipeline(Pipeline):
    """Named entities of posts, in the shape of the aggregated token classification pipeline.

    Args:
        model: What ``transformers.pipeline`` hands over: a model, or which one to load.
        picture_models: Where the models lie that read pictures, by kind, as for :func:`dpe_mner.load`.
        batch_size: Posts computed together; never changes an answer.
        others: ``steps``, ``spans``, ``seed``, ``convention`` and ``explain`` of all calls, and what every pipeline
            takes: ``task``, ``device``.

    Raises:
        InputError: If the model cannot be loaded or is none of ours, or an argument is unknown or out of range.
    """

    _load_tokenizer = _load_processor = _load_feature_extractor = False
    _load_image_processor = _load_video_processor = False

    def __init__(
        self,
        model: DPEMNERModel | _Asked,
        *,
        picture_models: Mapping[str, str] | None = None,
        batch_size: int = 32,
        **others: Any,
    ) -> None:
        loaded = model.load() if isinstance(model, _Asked) else model
        if not isinstance(loaded, DPEMNERModel):
            raise InputError(
                f"a {TASK} pipeline takes a DPEMNERModel, a folder or a hub id, not {type(model).__name__}"
            )
        others.pop("local_files_only", None)  # which transformers hands on
        super().__init__(loaded, batch_size=batch_size, **others)
        if picture_models:
            loaded.use_pictures(models=picture_models)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {{'model': {type(self.model).__name__!r}, 'device': {self.device.type!r}}}"

    def __call__(self, inputs: Any, *arguments: Any, **choices: Any) -> Any:
        """Entities of one post or of many.

        Args:
            inputs: A text, a :class:`~dpe_mner.Post`, or a mapping with ``text`` (or ``words``), and any of ``image``,
                ``caption``, ``tags``, ``convention``; or a list of those. A generator, a data set of PyTorch or of the
                datasets library is answered with an iterator, a batch at a time.
            arguments: None is taken.
            choices: ``batch_size``, and those of all calls again.

        Returns:
            A list of mappings with ``entity_group``, ``score``, ``word``, ``start``, ``end``, ``word_start``,
            ``word_end``. With ``explain`` a mapping: those as ``entities``, and the rest of a
            :class:`~dpe_mner.Prediction`.

        Raises:
            InputError: If something is no post, or a choice is unknown or out of range.
        """
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__((row for row in inputs) if is_table(inputs) else inputs, *arguments, **choices)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **others: Any) -> None:
        """Save the model, with its tokenizer; of the pipeline there is nothing else to save."""
        self.model.save_pretrained(save_directory, **others)

    def get_iterator(
        self,
        inputs: Iterable[Any],
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[Any]:
        """Answers in order: of a list all posts are taken at once, so that those of like length share a batch."""
        options = PredictionOptions(batch_size=batch_size, **forward_params)
        posts = (self.preprocess(item, number) for number, item in enumerate(_items(inputs)))
        for stretch in chunks(posts, len(inputs) if isinstance(inputs, list) else options.batch_size):
            for prediction in self.forward(stretch, options=options):
                yield self.postprocess(prediction, **postprocess_params)

    def run_single(
        self,
        inputs: Any,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Any:
        """The answer for one post."""
        return next(self.get_iterator([inputs], 0, 1, preprocess_params, forward_params, postprocess_params))

    def _sanitize_parameters(self, **choices: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        for name in choices:
            if name not in _CHOICES:
                raise InputError(f"{name}: no argument{nearest(name, _CHOICES)}; known: {', '.join(_CHOICES)}")
        PredictionOptions(**choices)  # refuses what is out of range, now and not with the first post
        shown = {"explain": choices["explain"]} if "explain" in choices else {}
        return {}, choices, shown

    def preprocess(self, input_: Any, number: int = 0) -> Post:
        """One input as a post.

        Raises:
            InputError: If it is none.
        """
        if isinstance(input_, Mapping):
            try:
                return post_of_row(input_, number)
            except ValueError as error:
                raise InputError(f"post {number}: {error}") from None
        posts, _ = as_posts([input_])
        return next(iter(posts))

    def _forward(self, posts: list[Post], *, options: PredictionOptions) -> list[Prediction]:
        return list(self.model.predictions(posts, options))

    def postprocess(self, prediction: Prediction, *, explain: bool = False) -> Any:
        """An answer as the token classification pipeline gives it; what was not used of a post is warned of."""
        entities = [_entity(entity) for entity in prediction.entities]
        if explain:
            return {**prediction.as_dict(explain=True), "entities": entities}
        for line in what_was_not_used([prediction]):
            warnings.warn(f"post {prediction.id}: {line}" if prediction.id else line, stacklevel=2)
        return entities


def _items(inputs: Any) -> Iterator[Any]:
    """Of a data set by its length, for not every one of PyTorch's ends by itself."""
    if hasattr(inputs, "__len__") and not hasattr(inputs, "__iter__"):
        return (inputs[k] for k in range(len(inputs)))
    return iter(inputs)


def _entity(entity: Entity) -> dict[str, Any]:
    return {
        "entity_group": entity.label,
        "score": entity.score,
        "word": entity.text,
        "start": entity.start,
        "end": entity.end,
        "word_start": entity.word_start,
        "word_end": entity.word_end,
    }


def register() -> None:
    """Make the task and its checkpoints known to transformers."""
    AutoConfig.register(_Config.model_type, _Config, exist_ok=True)
    default = {}
    try:
        default = {"default": {"model": (str(bundled_folder()), None)}}
    except InputError:  # an installation without it needs a name
        pass
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(TASK, DPEMNERPipeline, pt_model=_Asked, type="multimodal", **default)


register()
