"""What tells one version of a part from another: settings and weights, and the short key they have in a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dpe_mner.pictures.kinds import Kind
from dpe_mner.settings import PictureSettings

_WEIGHT_KEYS = {"model", "backbone", "fingerprint"}  # where weights lie says nothing of what they are
# Options that stores of before know nothing of: while off they leave no trace, so that those stores still serve.
_LATER_OPTIONS = {"stages", "aligned", "general_words"}


def bare_signature(settings: PictureSettings, kind: Kind) -> dict[str, Any]:
    """What a part depends on besides picture and weights."""
    section = getattr(settings, kind).model_dump(mode="json")  # as a store gives it back: no tuples
    kept = {key: value for key, value in section.items() if value or key not in _LATER_OPTIONS}
    return {"kind": kind, "longest_side": settings.longest_side, "settings": _without(kept, _WEIGHT_KEYS)}


def signature_key(signature: Mapping[str, Any]) -> str:
    """A short hash of a signature."""
    return hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()[:16]


def _without(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {
        key: _without(value, names) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in names
    }
