"""What users call: load a model, evaluate one, train one. The commands call these too.

Everything that needs PyTorch is imported when it is first asked for: the command line must answer at once, and
prediction with an exported graph needs none of it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, overload

from dpe_mner.errors import InputError, needs_torch

if TYPE_CHECKING:
    from dpe_mner.data.dataset import Dataset
    from dpe_mner.evaluation.score import Report
    from dpe_mner.model import DPEMNERModel
    from dpe_mner.onnx.runtime import OnnxModel

Backend = Literal["auto", "torch", "onnx"]
BASELINE = "baseline.json"  # marks the folder of a system of Table 1


@overload
def load(
    name: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    picture_models: Mapping[str, str] | None = None,
    int8: bool = False,
    dtype: str = "float32",
    backend: Literal["auto", "torch"] = "auto",
) -> DPEMNERModel: ...


@overload
def load(name: str | os.PathLike[str] | None = None, *, backend: Literal["onnx"]) -> OnnxModel: ...


def load(
    name: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    picture_models: Mapping[str, str] | None = None,
    int8: bool = False,
    dtype: str = "float32",
    backend: Backend = "auto",
) -> DPEMNERModel | OnnxModel:
    """Load a model ready to predict.

    Args:
        name: Folder or hub id; the bundled model when not given.
        device: ``cpu`` (default), ``cuda``, ...
        picture_models: Where the models lie that read pictures, by kind, e.g. ``{"grid": "folder"}``; the names the
            checkpoint remembers when not given. More choices: :meth:`DPEMNERModel.use_pictures`.
        int8: Quantise the text encoder, on a CPU: faster, for some F1, and a post's answer may then depend on the
            other posts of its batch.
        dtype: ``float32``, or ``bfloat16`` or ``float16`` to compute in half precision: faster on a GPU, and scores
            differ in the third digit.
        backend: ``torch``; ``onnx``, which starts faster and needs no PyTorch, and predicts only; ``auto`` takes
            PyTorch where it is installed.

    Returns:
        The model with its tokenizer, in evaluation mode. The folder of a system of Table 1 gives a
        :class:`~dpe_mner.baselines.model.BaselineModel`, which predicts and is evaluated in the same way.

    Raises:
        InputError: If the checkpoint is missing, foreign or damaged, or something it takes is not installed.
    """
    if backend not in ("auto", "torch", "onnx"):
        raise InputError(f"backend {backend!r}: expected auto, torch or onnx")
    light = backend == "onnx" or (backend == "auto" and not torch_is_installed())
    if light:
        asked = {
            f"device={device!r}": device not in (None, "cpu"),
            "picture_models": bool(picture_models),
            "int8": int8,
            f"dtype={dtype!r}": dtype != "float32",
        }
        for argument, given in asked.items():
            if given:
                raise needs_torch(argument)
        from dpe_mner.checkpoints.hub import bundled_folder, checkpoint_folder
        from dpe_mner.onnx.runtime import OnnxModel

        return OnnxModel(bundled_folder() if name is None else checkpoint_folder(name))
    if not torch_is_installed():
        raise needs_torch("backend='torch'")
    if isinstance(name, str | os.PathLike) and os.path.isfile(os.path.join(os.fspath(name), BASELINE)):
        return _load_baseline(name, device=device, picture_models=picture_models, int8=int8, dtype=dtype)
    from dpe_mner.checkpoints.loading import load_checkpoint
    from dpe_mner.model import DPEMNERModel

    place = os.fspath(name) if isinstance(name, os.PathLike) else name
    model = load_checkpoint(DPEMNERModel, place, device=device, dtype=dtype)
    if int8:
        from dpe_mner.representations.quantize import quantize_int8

        quantize_int8(model.text_encoder)
    if picture_models:
        model.use_pictures(models=picture_models)
    return model


def _load_baseline(name: str | os.PathLike[str], *, int8: bool, dtype: str, **where: Any) -> Any:
    """A system of Table 1; typed as any model, for who names its folder knows what it cannot do."""
    from dpe_mner.baselines.model import BaselineModel

    for argument, given in ((f"dtype={dtype!r}", dtype != "float32"), ("int8", int8)):
        if given:
            raise InputError(f"{name}: {argument} is not for a system of Table 1; leave it out")
    return BaselineModel(name, **where)


def torch_is_installed() -> bool:
    """Whether PyTorch and transformers can be imported here."""
    try:
        return find_spec("torch") is not None and find_spec("transformers") is not None
    except ValueError:  # a module that was imported without a specification, or made unimportable
        return False


def evaluate(
    data: str | os.PathLike[str] | Any,
    *,
    model: DPEMNERModel | OnnxModel | str | os.PathLike[str] | None = None,
    visual_text: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    ignore_labels: Sequence[str] = (),
    seed: int = 0,
    steps: int | None = None,
    spans: int | None = None,
    convention: str | None = None,
    batch_size: int = 64,
    quiet: bool = True,
) -> Report:
    """Strict precision, recall and F1 on labelled posts.

    Args:
        data: CoNLL or JSONL file, or a ``datasets.Dataset`` with rows of posts.
        model: A model, or the folder or hub id of one; the bundled model when not given.
        visual_text: JSONL with ``image_id``, ``caption`` and ``tags``, joined by post id.
        images: Folder that image paths are relative to.
        label_map: Labels of the data to rename, old to new.
        ignore_labels: Labels whose entities count neither as gold nor as found.
        seed: Of the starting noise.
        steps: Reasoning steps gamma.
        spans: Noisy spans N.
        convention: Annotation convention of the data; the model's first when not given.
        batch_size: Posts computed together.
        quiet: No progress bar.

    Returns:
        Scores overall and by type; ``as_dict()`` is what ``dpe-mner evaluate --json`` writes of them.

    Raises:
        InputError: If the data are missing, unlabelled, or hold labels that the model does not know.
    """
    from dpe_mner.data.inputs import is_table

    if not is_table(data) and not isinstance(data, str | os.PathLike):
        raise InputError(
            f"evaluate reads a CoNLL or JSONL file, not {type(data).__name__}; write evaluate('valid.txt')"
        )
    from dpe_mner.data.dataset import load_dataset
    from dpe_mner.data.gold import check_labels
    from dpe_mner.data.labels import LabelRules
    from dpe_mner.evaluation.answers import evaluate_posts, require_labels
    from dpe_mner.pipeline import PredictionOptions, Predicts

    options = PredictionOptions(steps=steps, spans=spans, seed=seed, batch_size=batch_size, convention=convention)
    rules = LabelRules(label_map, ignore_labels)
    if is_table(data):
        from dpe_mner.data.table import dataset_of_table

        dataset = dataset_of_table(data, visual_text=visual_text, images=images, labels=rules)
    else:
        dataset = load_dataset(data, visual_text=visual_text, images=images, labels=rules)
    require_labels(dataset)
    _warn(dataset)
    loaded = model if isinstance(model, Predicts) else load(model)
    check_labels(dataset.labels, loaded.labels, where=dataset.path)
    return evaluate_posts(loaded, dataset.posts, options, quiet=quiet, ignore_labels=ignore_labels)


def _warn(dataset: Dataset) -> None:
    """Warn of what a score does not cover, for there is no terminal to note it on."""
    from dpe_mner.data.gold import gold_summary

    lost = [problem for problem in dataset.problems if problem.loses_data]
    lines = [f"{len(lost)} lines could not be used, the first: {lost[0]}"] if lost else []
    if dataset.visual.found and not dataset.visual.used:
        lines.append(dataset.visual.summary)
    lines += [summary for summary in [gold_summary(dataset.posts)] if summary]
    for line in lines:
        warnings.warn(f"{dataset.path}: {line}", stacklevel=3)


def train(
    recipe: str | os.PathLike[str],
    *,
    data: Any | None = None,
    validation: Any | None = None,
    overrides: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    ignore_labels: Sequence[str] = (),
    resume: bool = False,
    log: Callable[[str], None] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a model from a recipe; checkpoint, metrics, curves and model card lie in the output folder after.

    Args:
        recipe: YAML file.
        data: Posts to train on instead of the recipe's files: a ``datasets.DatasetDict`` with ``train`` and
            ``validation``, or a ``datasets.Dataset``. They are written into the output folder, and read there.
        validation: Posts to validate on, where ``data`` is a single ``Dataset``.
        overrides: ``key=value`` of the recipe: ``["training.epochs=3", "data.folder=posts"]``.
        output: Folder of the run; the recipe's when not given.
        label_map: Labels of the data to rename, old to new, besides the recipe's.
        ignore_labels: Labels whose entities are left out, besides the recipe's.
        resume: Go on from the last finished epoch.
        log: Receives a line as things happen.
        progress: Show a progress bar.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: If recipe or data are wrong, or what training takes is not installed.
    """
    from pathlib import Path

    if not isinstance(recipe, str | os.PathLike):
        raise InputError(f"train reads a recipe, not {type(recipe).__name__}; write train('recipe.yaml')")
    if isinstance(overrides, str | Mapping):
        raise InputError("overrides is a list of settings; write train(recipe, overrides=['training.epochs=3'])")
    try:
        from dpe_mner.training.folder import refuse_overwriting
        from dpe_mner.training.recipe import load_recipe, with_choices
        from dpe_mner.training.train import train as run
    except ImportError as error:
        raise InputError(f"training needs {error.name}; run pip install 'dpe-mner[train]'") from None
    loaded = with_choices(
        load_recipe(Path(recipe), overrides),
        output=None if output is None else os.fspath(output),
        label_map=label_map,
        ignore_labels=ignore_labels,
    )
    refuse_overwriting(Path(loaded.output), [recipe])
    if data is not None or validation is not None:
        from dpe_mner.training.tables import splits_of, with_tables
        from dpe_mner.training.train import checkpoint_to_resume

        tables = splits_of(data, validation)
        if not resume:
            checkpoint_to_resume(Path(loaded.output), resume=False, log=_silent)  # refuses a run that is there
        loaded = with_tables(loaded, tables, resume=resume, log=log or _silent)
    if loaded.baseline:
        from dpe_mner.baselines.train import train_from_recipe

        return train_from_recipe(loaded, resume=resume, log=log or _silent, progress=progress)
    return run(loaded, resume=resume, log=log or _silent, progress=progress)


def _silent(line: str) -> None:
    """Where nobody asked for lines."""
