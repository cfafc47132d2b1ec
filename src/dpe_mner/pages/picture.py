"""A post's picture for a page: reduced, re-encoded and inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from dpe_mner.errors import InputError
from dpe_mner.pictures.opening import PictureError, open_picture
from dpe_mner.types import ImageLike

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
