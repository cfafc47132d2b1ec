"""The posts that come with the package: our own sentences, captions and tags, free to use like the code.

Some have a photograph in the public domain; ``credit`` in the file, and NOTICE, say whose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from dpe_mner.data.jsonl import read_objects, read_posts_jsonl
from dpe_mner.types import Post


def demo_posts(*, pictures: bool = True) -> list[Post]:
    """The bundled demonstration posts.

    Args:
        pictures: With the paths of their photographs; without them they keep captions and tags.
    """
    path = _folder() / "posts.jsonl"
    posts = read_posts_jsonl(path, [])
    return [
        replace(post, image=str(path.parent / str(post.image)) if pictures and post.image is not None else None)
        for post in posts
    ]


def demo_credits() -> Mapping[str, str]:
    """Whose photograph a demonstration post has, by its id."""
    rows = read_objects(_folder() / "posts.jsonl", [])
    return {str(row["id"]): str(row["credit"]) for _, row in rows if "credit" in row}


def _folder() -> Path:
    return Path(str(resources.files("dpe_mner"))) / "assets" / "demo"
