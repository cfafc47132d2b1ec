"""Settings that are gone: what a recipe is told, and which of their values a checkpoint may still name.

A file that a version of this package wrote names every setting. Those that are gone are dropped where nothing changes
by it, and refused where the model would be another one. Who writes a recipe is told of each name that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dpe_mner.errors import InputError

Sections = Mapping[str, Any]


def _only(value: object) -> Callable[[Any, Sections], bool]:
    return lambda found, sections: bool(found == value)


def _any(found: Any, sections: Sections) -> bool:
    """Of settings that only training read: the trained model is the same without them."""
    return True


def _with_exchange(name: str, value: object) -> Callable[[Any, Sections], bool]:
    """Of settings that only one form of eq. 5 reads."""
    return lambda found, sections: bool(found == value or _get(sections, "fusion", "exchange", "bottleneck") != name)


def _pooling_of_variant(found: Any, sections: Sections) -> bool:
    return bool(found == ("mean+ends" if _get(sections, "heads", "variant", "paper") == "pointer" else "mean"))


def _weighed_if_there(found: Any, sections: Sections) -> bool:
    return not found or _get(sections, "loss", "tagging", 1.0) > 0


@dataclass(frozen=True)
class Removed:
    """A setting that is gone.

    Attributes:
        instead: What holds now, or what to set.
        holds: Whether a model that was made with a value of it is still the same, given all of its settings.
    """

    instead: str
    holds: Callable[[Any, Sections], bool]


REMOVED: Mapping[str, Removed] = {
    "encoder.pooling": Removed("a word is the mean of its pieces", _only("mean")),
    "encoder.characters": Removed("for uncased encoders there is settings.encoder.word_shapes", _only(False)),
    "noise.beta_schedule": Removed("the schedule of eq. 1 is the cosine", _only("cosine")),
    "noise.expand": Removed("gold spans are repeated, as far as settings.noise.gold_share goes", _any),
    "fusion.bottleneck_layers": Removed("MBT has 2 layers", _with_exchange("bottleneck", 2)),
    "fusion.bottleneck_tokens": Removed("MBT has 4 tokens", _with_exchange("bottleneck", 4)),
    "fusion.direct_layers": Removed("direct attention has 1 layer", _with_exchange("direct", 1)),
    "fusion.relevance_rank": Removed("the gate of eq. 4 has rank 64", _only(64)),
    "heads.span_pooling": Removed(
        "settings.heads.variant decides: paper takes the mean, pointer the mean and both ends", _pooling_of_variant
    ),
    "heads.tagging": Removed("set settings.loss.tagging; at 0 there is no tagger", _weighed_if_there),
    "loss.boundary": Removed("boundaries and types weigh 1 each", _any),
    "loss.type": Removed("boundaries and types weigh 1 each", _any),
    "decision.label_thresholds": Removed("settings.decision.threshold holds for all labels", _only({})),
}


def refuse_removed(sections: object, *, where: str) -> None:
    """Refuse the settings of a recipe if they name one that is gone.

    Args:
        sections: Values by section, as read from YAML; anything else is left to validation.
        where: The recipe.

    Raises:
        InputError: One line with the first of them and what there is instead.
    """
    for key, _ in _found(sections):
        raise InputError(f"{where}: settings.{key} was removed; {REMOVED[key].instead}")


def without_removed(sections: Sections, *, where: str, version: str | None) -> dict[str, Any]:
    """The settings that a version of this package wrote, in the words of this one.

    Args:
        sections: Values by section, as read from JSON.
        where: Named in the error.
        version: What wrote them, where that is known.

    Returns:
        The same without what is gone.

    Raises:
        InputError: If the model was made with a value that no longer exists.
    """
    kept = {name: dict(values) if isinstance(values, Mapping) else values for name, values in sections.items()}
    for key, value in _found(sections):
        if not REMOVED[key].holds(value, sections):
            writer = f"dpe-mner {version}" if version else "another version"
            raise InputError(
                f"{where}: {writer} wrote it with settings.{key} = {value!r}, which was removed "
                f"({REMOVED[key].instead}); use it with the version that wrote it, or train it anew"
            )
        section, _, name = key.partition(".")
        del kept[section][name]
        if key == "heads.tagging" and not value:
            kept["loss"] = {**kept.get("loss", {}), "tagging": 0.0}
    return kept


def _found(sections: object) -> list[tuple[str, Any]]:
    if not isinstance(sections, Mapping):
        return []
    named = [(name, values) for name, values in sections.items() if isinstance(values, Mapping)]
    return [(key, value) for name, values in named for k, value in values.items() if (key := f"{name}.{k}") in REMOVED]


def _get(sections: Sections, section: str, name: str, default: Any) -> Any:
    values = sections.get(section)
    return values.get(name, default) if isinstance(values, Mapping) else default
