"""Models that lie elsewhere on this machine than the settings of a checkpoint say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpe_mner.errors import InputError, nearest
from dpe_mner.pictures.kinds import KINDS, REPRESENTATION
from dpe_mner.settings import PictureSettings


def with_models(settings: PictureSettings, models: Mapping[str, str]) -> PictureSettings:
    """The settings with models that lie elsewhere on this machine.

    Raises:
        InputError: If a name is no kind, or of a part the settings do not have.
    """
    values = settings.model_dump()
    for kind, name in models.items():
        if kind not in KINDS or kind == "ocr":
            raise InputError(
                f"no picture model is called {kind!r}{nearest(kind, KINDS)}; known: grid, caption, regions, tags, "
                "objects"
            )
        section = values[kind]
        if section is None:
            values[kind] = _fresh(kind, name)
            continue
        if kind == "regions":
            part = "detector" if section["detector"] is not None else "grounding"
            if section[part] is not None:
                section[part]["model"] = name
        else:
            section["model"] = name
    grid = models.get("grid")
    if grid is not None and values["regions"] is not None and values["regions"]["backbone"] is not None:
        values["regions"]["backbone"] = grid
    return PictureSettings.model_validate(values)


def _fresh(kind: str, name: str) -> dict[str, Any]:
    """A part the checkpoint was not trained with: captions and tags are text, which every checkpoint reads.

    Raises:
        InputError: For image features: nothing in the network was trained to read them.
    """
    if kind not in {"caption", "tags"}:
        raise InputError(f"picture model {kind}={name}: this model was trained without {REPRESENTATION[kind]}")  # type: ignore[index]
    return {"model": name}
