"""A post's picture as a ``data:`` address, small enough to be sent."""

from __future__ import annotations

import base64
import io

from dpe_mner.pictures.opening import PictureError, open_picture, picture_name
from dpe_mner.types import Post

_QUALITY = 90  # of JPEG


def picture_address(post: Post, *, longest_side: int, fetch_urls: bool = False) -> tuple[str | None, str]:
    """The picture of a post to send.

    Args:
        post: With or without a picture.
        longest_side: Bigger pictures are reduced to it, in pixels.
        fetch_urls: Download a picture that is given as a URL.

    Returns:
        Its address, or None and why there is none.

    Raises:
        InputError: If Pillow is not installed.
    """
    if post.image is None:
        return None, "no picture; asked with the text alone"
    try:
        picture = open_picture(post.image, longest_side=longest_side, fetch_urls=fetch_urls)
    except PictureError as error:
        return None, f"picture {picture_name(post.image)}: {error}; asked with the text alone"
    stream = io.BytesIO()
    picture.image.save(stream, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}", ""
