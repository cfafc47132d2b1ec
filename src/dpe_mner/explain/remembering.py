"""The posts as the model saw them: with the captions and tags made of their pictures."""

from __future__ import annotations

from collections.abc import Sequence

from dpe_mner.pictures.source import Illustrated, PictureSource
from dpe_mner.types import Post


class RememberingSource(PictureSource):
    """A picture source that keeps the posts it filled in, for pages to show the captions and tags made for them.

    Args:
        source: Where parts come from.
        most: Posts to keep, the first ones; all when not given.
    """

    def __init__(self, source: PictureSource, *, most: int | None = None) -> None:
        super().__init__(source.reader, store=source.store, images=source.images, fetch_urls=source.fetch_urls)
        self.posts: list[Post] = []
        self._most = most

    def __call__(self, posts: Sequence[Post]) -> list[Illustrated]:
        """As the source does it."""
        made = super().__call__(posts)
        room = len(made) if self._most is None else max(self._most - len(self.posts), 0)
        self.posts += [illustrated.post for illustrated in made[:room]]
        return made
