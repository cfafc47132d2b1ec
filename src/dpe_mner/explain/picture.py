"""A post's picture for a page: reduced, re-encoded and inside the page; and the posts as the model saw them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from dpe_mner.errors import InputError
from dpe_mner.pictures.opening import PictureError, open_picture
from dpe_mner.pictures.source import Illustrated, PictureSource
from dpe_mner.types import ImageLike, Post

_QUALITY = 78  # of the JPEG


@dataclass(frozen=True)
class ShownPicture:
    """A picture ready for a page, or why there is none.

    Attributes:
        uri: ``data:image/jpeg;base64,...``, empty if the picture cannot be shown.
        width: Pixels.
        height: Pixels.
        problem: Why it cannot be shown, in one line.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""


def shown_picture(image: ImageLike, *, longest_side: int, fetch_urls: bool = False) -> ShownPicture:
    """Reduce a picture and put it into a data URI; whatever is wrong with it becomes the reason.

    Args:
        image: Path, URL, bytes, PIL image or array.
        longest_side: Pixels at most.
        fetch_urls: Download it when it is a URL.
    """
    try:
        picture = open_picture(image, longest_side=longest_side, fetch_urls=fetch_urls).image
    except (PictureError, InputError) as error:  # an InputError says how to install Pillow
        return ShownPicture(problem=str(error))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, optimize=True, comment=b"")  # nothing but the pixels goes along
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return ShownPicture(f"data:image/jpeg;base64,{encoded}", picture.width, picture.height)


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
