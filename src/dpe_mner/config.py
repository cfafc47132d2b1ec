"""Configuration of a checkpoint: the encoder's own configuration, the settings and the label set, as JSON."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from dpe_mner.errors import InputError
from dpe_mner.settings import Settings, parse_section
from dpe_mner.version import __version__

DEFAULT_LABELS = ("PER", "LOC", "ORG", "MISC")


class DPEMNERConfig(PretrainedConfig):
    """Saved as ``config.json``.

    Args:
        encoder: The text encoder's configuration, as :meth:`PretrainedConfig.to_dict` gives it.
        settings: Sections of :class:`~dpe_mner.settings.Settings`.
        labels: Entity types; class 0 is "no entity" and not among them.
        package_version: Version of dpe-mner that wrote the checkpoint.

    Raises:
        InputError: On unknown keys or values that do not fit.
    """

    model_type = "dpe-mner"

    encoder: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    labels: list[str] | None = None
    package_version: str = __version__

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.encoder is None:
            self.encoder = AutoConfig.for_model("bert").to_dict()
        if self.labels is None:
            self.labels = list(DEFAULT_LABELS)
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise InputError(f"config.json: labels must be a list of distinct names, got {self.labels}")
        self.settings = parse_section(Settings, self.settings or {}, where="config.json: settings").model_dump()

    @property
    def parsed(self) -> Settings:
        """The settings as a typed object."""
        return Settings.model_validate(self.settings)

    @property
    def classes(self) -> int:
        """C, the label set and "no entity"."""
        return len(self.labels or ()) + 1

    @property
    def label_names(self) -> list[str]:
        """Entity types; class c is name c - 1."""
        return list(self.labels or ())

    def encoder_config(self) -> PretrainedConfig:
        """The text encoder's configuration object."""
        values = dict(self.encoder or {})
        kind = values.pop("model_type", None)
        if not isinstance(kind, str):
            raise InputError("config.json: encoder has no model_type; it must be the encoder's own config.json")
        return AutoConfig.for_model(kind, **values)

    def with_settings(self, settings: Settings) -> None:
        """Replace the settings, e.g. after calibration."""
        self.settings = settings.model_dump()
