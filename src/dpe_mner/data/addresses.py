"""Pictures that are named by an address instead of a path: on the web, as ``file://``, or inside a ``data:`` URI."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

_ADDRESS = re.compile(r"(https?|file|data):", re.IGNORECASE)


def address_kind(source: object) -> str | None:
    """``web``, ``file`` or ``data``; None for a path, bytes and all else."""
    found = _ADDRESS.match(os.fspath(source)) if isinstance(source, str) else None
    if found is None:
        return None
    kind = found.group(1).lower()
    return "web" if kind.startswith("http") else kind


def path_of(address: str) -> Path:
    """The path in a ``file:`` address.

    Raises:
        ValueError: If it names another machine.
    """
    from urllib.request import url2pathname  # brings an HTTP client, which no command needs to say --help

    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise ValueError("names a file of another machine")
    return Path(url2pathname(parts.path))


def content_of(address: str) -> bytes:
    """The bytes in a ``data:`` URI, whether base64 or percent-encoded.

    Raises:
        ValueError: If there are none, or they are not encoded as it says.
    """
    head, comma, body = address.partition(",")
    if not comma:
        raise ValueError("is a data URI without data")
    data = unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return data
    plain = re.sub(rb"\s", b"", data).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise ValueError("is a data URI whose base64 is damaged") from None


def as_on_disk(path: Path) -> Path:
    """The path, or the same with its ending in capitals or small letters, if that is what there is."""
    if not path.suffix or os.path.exists(path):
        return path
    endings = (path.suffix.lower(), path.suffix.upper(), path.suffix.title())
    return next((other for other in map(path.with_suffix, endings) if os.path.exists(other)), path)
