"""The one exception that means "your input, not our fault": printed as a line, exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong usage or bad input, told in one line: where, what is wrong, what to do."""


def needs_torch(what: str) -> InputError:
    """What to say where PyTorch is missing, or was not loaded."""
    return InputError(f"{what} needs PyTorch; run pip install 'dpe-mner[torch]'")


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'steps'?)`` for a near miss, or an empty string.

    Returns:
        Text to append to an error message.
    """
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
