"""Pictures that come with a request: bytes only, looked at before the model meets them."""

from __future__ import annotations

import base64
import binascii

from dpe_mner.data.addresses import address_kind, content_of
from dpe_mner.errors import InputError
from dpe_mner.pictures.opening import PictureError, decode
from dpe_mner.web.limits import Limits
from dpe_mner.web.refusals import Refused

AT_ONCE = 2  # pictures decoded at the same time: each may take some 160 MB meanwhile


def picture_bytes(image: str, *, where: str = "image") -> bytes:
    """The bytes of a picture in JSON. A string is never taken for a path or an address.

    Raises:
        Refused: If it is neither base64 nor a data: URI.
    """
    kind = address_kind(image[:10])
    if kind in ("web", "file"):
        raise Refused(422, "invalid", f"{where}: addresses are not fetched; send the file in base64", where=where)
    try:
        data = content_of(image) if kind == "data" else base64.b64decode(image, validate=True)
    except (ValueError, binascii.Error):
        raise Refused(422, "invalid", f"{where}: is not base64; send the picture's file in it", where=where) from None
    return data


def check_picture(data: bytes, limits: Limits, *, where: str = "image") -> None:
    """Decode a picture once, so that what is wrong with it is said to who sent it.

    Raises:
        Refused: If it is broken, of a foreign format, or has too many pixels.
    """
    try:
        decode(data, most_pixels=limits.pixels)
    except PictureError as error:
        raise Refused(422, "picture", f"{where}: {error}", where=where) from None
    except InputError:  # without Pillow no model reads pictures either; its warning says so
        return
