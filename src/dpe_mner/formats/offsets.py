"""Places in a text, counted in characters as Python does, in UTF-16 units as browsers do, or in UTF-8 bytes."""

from __future__ import annotations

from itertools import accumulate
from typing import Literal, get_args

from dpe_mner.errors import InputError, nearest

Unit = Literal["characters", "utf16", "bytes"]
UNITS: tuple[str, ...] = get_args(Unit)


def check_unit(option: str, name: str) -> Unit:
    """A unit by its name.

    Raises:
        InputError: If there is no such unit.
    """
    if name not in UNITS:
        raise InputError(f"{option} {name!r}: expected one of {', '.join(UNITS)}{nearest(name, UNITS)}")
    return name  # type: ignore[return-value]


class Offsets:
    """Turns the offsets of one text into characters and back.

    Args:
        text: The text.
        unit: What the other side counts in.
    """

    def __init__(self, text: str, unit: Unit = "characters") -> None:
        self._places: list[int] | None = None
        if unit != "characters" and not text.isascii():
            size = _utf16 if unit == "utf16" else _utf8
            self._places = [0, *accumulate(map(size, text))]
            self._back = {place: k for k, place in enumerate(self._places)}

    def to_characters(self, place: int) -> int | None:
        """The character a place is before; None inside a character and outside the text."""
        return place if self._places is None else self._back.get(place)

    def from_characters(self, place: int) -> int:
        """The place of a character in the other unit."""
        return place if self._places is None else self._places[place]


def _utf16(character: str) -> int:
    return 2 if ord(character) > 0xFFFF else 1


def _utf8(character: str) -> int:
    code = ord(character)
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
