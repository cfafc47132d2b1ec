"""Names in data that belong to a folder: none of them leads out of it, whoever wrote the data."""

from __future__ import annotations

import os


def stays_inside(name: str) -> bool:
    """Whether a name, joined to a folder, is below it as it is written; links in the folder are its owner's."""
    plain = os.path.normpath(name)
    if os.path.isabs(plain) or os.path.splitdrive(plain)[0] or "\0" in plain:
        return False
    return plain != os.pardir and not plain.startswith(os.pardir + os.sep)


def is_plain_name(name: str) -> bool:
    """Whether a name is that of a file right in a folder."""
    return stays_inside(name) and os.path.basename(name) == name and name not in {"", os.curdir}
