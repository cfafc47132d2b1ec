"""What belongs to which post: one rule for captions, tags, pictures and crops, whoever asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dpe_mner.data.inside import stays_inside
from dpe_mner.data.jsonl import VisualText
from dpe_mner.types import Post

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".jfif", ".tif", ".tiff", ".avif", ".heic")
_NONE = VisualText(None, None, 0)


def picture_id(name: str) -> str:
    """A picture's id from a name that may be a path, and may have a picture's ending."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem, ending = os.path.splitext(last)
    return stem if stem and ending.lower() in PICTURE_ENDINGS else last


def picture_names(identifier: str) -> list[str]:
    """File names a picture of this id may have, the likeliest first."""
    endings = [*PICTURE_ENDINGS, *(ending.upper() for ending in PICTURE_ENDINGS)]
    own = os.path.splitext(identifier)[1].lower() in PICTURE_ENDINGS
    names = [f"{stem}{ending}" for stem in (identifier, picture_id(identifier)) for ending in endings]
    return list(dict.fromkeys([identifier, *names] if own else names))


def picture_by_id(folder: Path, identifier: str) -> str:
    """The picture that is named after a post, as the Twitter2015 and Twitter2017 downloads name them.

    An id is no path: of one that leads out of the folder only what follows its last slash counts.
    """
    inside = [name for name in picture_names(identifier) if stays_inside(name)]
    candidates = [folder / name for name in inside or picture_names(picture_id(identifier))]
    return str(next((path for path in candidates if os.path.isfile(path)), candidates[0]))


class VisualJoin:
    """Captions and tags, given to posts by id: the post's, or the name of its picture, with or without an ending.

    Args:
        found: By image id.
        path: The file they were read from; empty when there is none.
    """

    def __init__(self, found: Mapping[str, VisualText] | None = None, *, path: str = "") -> None:
        self.path = path
        self.found = dict(found or {})
        self._short: dict[str, str] = {}
        for identifier in self.found:
            self._short.setdefault(picture_id(identifier), identifier)
        self.used: set[str] = set()
        self.posts = 0
        self.joined_posts = 0

    def of(self, post: Post) -> VisualText:
        """What the file has for a post, and nothing when it has none."""
        self.posts += 1
        key = self._key(post)
        if key is None:
            return _NONE
        self.used.add(key)
        self.joined_posts += 1
        return self.found[key]

    def _key(self, post: Post) -> str | None:
        if post.id in self.found:
            return post.id
        names = [post.id]
        if isinstance(post.image, str | os.PathLike):
            names.append(str(post.image))
        return next((self._short[short] for short in map(picture_id, names) if short in self._short), None)

    @property
    def orphans(self) -> list[str]:
        """Ids that no post has had so far."""
        return [identifier for identifier in self.found if identifier not in self.used]

    @property
    def summary(self) -> str:
        """How many met a post; empty when there was no file."""
        if not self.path:
            return ""
        line = (
            f"{self.path}: {len(self.used)} of {len(self.found)} captions joined, "
            f"to {self.joined_posts} of {self.posts} posts"
        )
        if self.found and not self.used:
            line += f"; its image ids look like {next(iter(self.found))!r}, are they the posts' ids?"
        return line
