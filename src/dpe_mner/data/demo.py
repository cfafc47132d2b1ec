"""The posts that come with the package: our own sentences, captions and tags, free to use like the code."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from dpe_mner.data.jsonl import read_posts_jsonl
from dpe_mner.types import Post


def demo_posts() -> list[Post]:
    """The bundled demonstration posts."""
    path = Path(str(resources.files("dpe_mner"))) / "assets" / "demo" / "posts.jsonl"
    return list(read_posts_jsonl(path, []))
