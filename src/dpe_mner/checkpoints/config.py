"""Configuration of a checkpoint: the encoder's own configuration, the settings and the label set, as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_mner.checkpoints.removed import without_removed
from dpe_mner.data.json_values import parse_json
from dpe_mner.errors import InputError, nearest
from dpe_mner.settings import Settings, parse_section
from dpe_mner.version import __version__

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "config.json"
DEFAULT_LABELS = ("PER", "LOC", "ORG", "MISC")
_OTHERS = frozenset(  # keys that transformers writes into every config.json
    "_name_or_path architectures auto_map chunk_size_feed_forward dtype id2label is_encoder_decoder label2id "
    "model_type output_attentions output_hidden_states problem_type return_dict torch_dtype "
    "transformers_version".split()
)


def _bert() -> dict[str, Any]:
    from transformers import BertConfig

    return BertConfig().to_dict()


@dataclass(kw_only=True)  # not frozen: transformers' Trainer sets attributes of its own on a model's config
class DPEMNERConfig:
    """Saved as ``config.json``.

    Args:
        encoder: The text encoder's configuration, as transformers' ``PretrainedConfig.to_dict`` gives it; BERT when
            not given.
        settings: All settings; the paper's when not given.
        labels: Entity types; class 0 is "no entity" and not among them.
        package_version: Version of dpe-mner that wrote the checkpoint.

    Raises:
        InputError: If labels repeat.
    """

    model_type = "dpe-mner"

    encoder: dict[str, Any] = field(default_factory=_bert)
    settings: Settings = field(default_factory=Settings)
    labels: list[str] = field(default_factory=lambda: list(DEFAULT_LABELS))
    package_version: str = __version__

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise InputError(f"config.json: labels must be a list of distinct names, got {self.labels}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = CONFIG) -> DPEMNERConfig:
        """The configuration of a ``config.json``.

        Args:
            values: Its content.
            where: Named in errors.

        Raises:
            InputError: If it is not one of DPE-MNER, or on an unknown key.
        """
        kind = values.get("model_type")
        if kind != cls.model_type:
            raise InputError(f"{where}: model_type is {kind!r}, not {cls.model_type!r}; not a DPE-MNER model")
        own = {field.name for field in fields(cls)}
        for key in values.keys() - own - _OTHERS:
            raise InputError(f"{where}: unknown key {key!r}{nearest(key, own)}; known keys: {', '.join(sorted(own))}")
        given = {key: value for key, value in values.items() if key in own and value is not None}
        sections = given.get("settings", {})
        if not isinstance(sections, Mapping):
            raise InputError(f"{where}: settings must be a mapping of sections, got {sections!r}")
        sections = without_removed(sections, where=where, version=values.get("package_version"))
        return cls(**given | {"settings": parse_section(Settings, sections, where=f"{where}: settings")})

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **where: Any) -> DPEMNERConfig:
        """The configuration of a checkpoint.

        Args:
            name: Folder or hub id.
            where: ``revision``, ``token``, ``cache_dir``, ... of :func:`~dpe_mner.checkpoints.hub.checkpoint_folder`.

        Raises:
            InputError: If it is missing, not JSON, or another model's.
        """
        from dpe_mner.checkpoints.hub import checkpoint_folder

        path = checkpoint_folder(name, weights=False, **where) / CONFIG
        if not path.is_file():
            raise InputError(f"{name}: no config.json; give a folder written by 'dpe-mner train'")
        try:
            values = parse_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON ({str(error).splitlines()[0]})") from None
        return cls.from_dict(values if isinstance(values, dict) else {}, where=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Content of ``config.json``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["settings"] = self.settings.model_dump()
        return {"architectures": ["DPEMNERModel"], "dtype": "float32", "model_type": self.model_type, **values}

    def to_json_string(self) -> str:
        """The text of ``config.json``."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json``."""
        (Path(folder) / CONFIG).write_text(self.to_json_string(), encoding="utf-8")

    @property
    def classes(self) -> int:
        """C, the label set and "no entity"."""
        return len(self.labels) + 1

    @property
    def label_names(self) -> list[str]:
        """Entity types; class c is name c - 1."""
        return list(self.labels)

    def encoder_config(self) -> PretrainedConfig:
        """The text encoder's configuration object, of transformers."""
        from dpe_mner.representations.encoders import encoder_config

        return encoder_config(self.encoder)
