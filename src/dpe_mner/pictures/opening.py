"""A picture from whatever the user has: path, bytes, PIL image or array, to upright RGB of bounded size.

Whatever is wrong with it is a :class:`PictureError` with one line of reason; the post goes on without its picture.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_mner.data.addresses import address_kind, as_on_disk, content_of, path_of
from dpe_mner.errors import InputError
from dpe_mner.pictures.formats import foreign_format, register_plugins

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MOST_BYTES = 100 * 2**20  # of a file
MOST_ENCODED_PIXELS = 120_000_000  # in the file; a progressive JPEG holds them all in memory once
MOST_PIXELS = 40_000_000  # decoded at once: 160 MB at four bytes; JPEGs are decoded at reduced size first
_MOST_SHOWN = 100  # characters of a name in a message; with a reason below 200
_ORIENTATION = 0x0112  # in EXIF
_QUARTERS = (5, 6, 7, 8)  # orientations that exchange width and height
_DOWNLOAD_SECONDS = 20.0  # without a byte
_WHOLE_DOWNLOAD_SECONDS = 120.0
_DOWNLOADED_AT_ONCE = 1 << 16
_filter_lock = threading.Lock()


class PictureError(Exception):
    """Why a picture cannot be used, in one line."""


@dataclass(frozen=True)
class Picture:
    """An opened picture.

    Attributes:
        image: RGB, upright.
        key: SHA-256 of its content: of the file's bytes, or of the pixels of an image in memory.
        scale: Pixels of the original for one of ``image``.
        original: Width and height of the original, upright, in pixels; None: as ``image``.
    """

    image: Image
    key: str
    scale: float = 1.0
    original: tuple[int, int] | None = None

    @property
    def original_size(self) -> tuple[int, int]:
        """Width and height before any reduction, upright, in pixels."""
        return self.original or self.image.size


def picture_name(source: object) -> str:
    """How messages call a picture: in one line, and at no length."""
    if not isinstance(source, str | os.PathLike):
        return f"<{type(source).__name__}>"
    name = re.sub(r"[\r\n]+", " ", str(os.fspath(source)))
    if address_kind(source) == "data":
        return f"{name.partition(',')[0][:_MOST_SHOWN]},... ({len(name)} characters)"
    half = _MOST_SHOWN // 2
    return name if len(name) <= _MOST_SHOWN else f"{name[:half]}...{name[-half:]}"


def read_bytes(source: object, *, fetch_urls: bool = False) -> bytes:
    """The encoded bytes of a path or URL.

    Raises:
        PictureError: If there is none, or it must not or cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    name = os.fspath(source)  # type: ignore[call-overload]
    kind = address_kind(name)
    if kind == "web":
        return _download(str(name), allowed=fetch_urls)
    try:
        if kind == "data":
            return _content(str(name))
        return _read_file(as_on_disk(path_of(str(name)) if kind == "file" else Path(os.path.expanduser(name))))
    except FileNotFoundError:
        raise PictureError("no such file") from None
    except PermissionError:
        raise PictureError("permission denied") from None
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror or _line(error)})") from None
    except ValueError as error:
        raise PictureError(f"cannot be read ({_line(error)})") from None


def _read_file(path: Path) -> bytes:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise PictureError("is a folder, not a picture")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("is not a regular file")
    if status.st_size == 0:
        raise PictureError("is empty")
    if status.st_size > MOST_BYTES:
        raise PictureError(f"has {status.st_size / 2**20:.0f} MB; at most {MOST_BYTES >> 20} are read")
    return path.read_bytes()


def _content(address: str) -> bytes:
    if len(address) > 3 * MOST_BYTES:
        raise PictureError(f"is larger than {MOST_BYTES >> 20} MB")
    data = content_of(address)
    if not data:
        raise PictureError("is empty")
    return data


def open_picture(source: object, *, longest_side: int = 1024, fetch_urls: bool = False) -> Picture:
    """Open, check, turn upright and bring to RGB.

    Args:
        source: Path, URL (also ``file://`` and ``data:``), bytes, ``PIL.Image.Image``, or array of shape (H, W),
            (H, W, 3) or (H, W, 4), uint8, uint16 or floats from 0 to 1.
        longest_side: Bigger pictures are reduced; big JPEGs are decoded at reduced size at once.
        fetch_urls: Download what starts with http; refused unless asked for.

    Raises:
        PictureError: With the reason.
        InputError: If Pillow is not installed.
    """
    image_module = pillow()
    if isinstance(source, image_module.Image):
        return _finish(source, _pixel_key(source), longest_side)
    if hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        image = _from_array(source)
        return _finish(image, _pixel_key(image), longest_side)
    if not isinstance(source, str | bytes | bytearray | memoryview | os.PathLike):
        raise PictureError(f"a picture is a path, bytes, a PIL image or an array, not {type(source).__name__}")
    data = read_bytes(source, fetch_urls=fetch_urls)
    return decode(data, longest_side=longest_side)


def decode(data: bytes, *, longest_side: int = 1024, most_pixels: int = MOST_ENCODED_PIXELS) -> Picture:
    """Open encoded bytes.

    Args:
        data: Of a picture's file.
        longest_side: Bigger pictures are reduced.
        most_pixels: In the file, as its header gives them; nothing is decoded above it.

    Raises:
        PictureError: With the reason.
    """
    image_module = pillow()
    if not data:
        raise PictureError("is empty")
    key = content_key(data)
    try:
        with _open_quietly(data) as image:
            if image.format == "EPS":  # Pillow would start Ghostscript, and a picture must not run programs
                raise PictureError(foreign_format(data) or "is a PostScript drawing; make a PNG of it")
            original = image.size
            most = min(most_pixels, MOST_ENCODED_PIXELS)
            if original[0] * original[1] > most:
                raise PictureError(f"has {original[0]} x {original[1]} pixels; at most {most / 1e6:g} million are read")
            share = longest_side / max(*original, longest_side)
            wanted = math.ceil(original[0] * share), math.ceil(original[1] * share)
            image.draft("RGB", wanted)  # JPEG: decode at 1/2, 1/4, 1/8, not below this; others: nothing
            return _finish(image, key, longest_side, original=original)
    except PictureError:
        raise
    except image_module.UnidentifiedImageError:
        raise PictureError(foreign_format(data) or "is not a picture, or of a format that cannot be read") from None
    except image_module.DecompressionBombError:
        raise PictureError("has too many pixels to be decoded safely") from None
    except MemoryError:
        raise PictureError("needs too much memory") from None
    except Exception as error:  # Pillow's plugins raise many kinds for damaged files
        raise PictureError(f"cannot be decoded ({_line(error)})") from None


def content_key(data: bytes) -> str:
    """Key of encoded bytes."""
    return hashlib.sha256(data).hexdigest()


def pillow() -> Any:
    """``PIL.Image``.

    Raises:
        InputError: With the install command.
    """
    try:
        import PIL.Image
    except ImportError:
        raise InputError("pictures need Pillow; pip install 'dpe-mner[pictures]'") from None
    register_plugins()
    return PIL.Image


def _finish(image: Image, key: str, longest_side: int, *, original: tuple[int, int] | None = None) -> Picture:
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError("has no pixels")
    if width * height > MOST_PIXELS:
        raise PictureError(f"has {width} x {height} pixels; at most {MOST_PIXELS // 10**6} million are decoded")
    original = original or image.size
    turn = _orientation(image)
    image = _upright(image, turn)
    original = original[::-1] if turn in _QUARTERS else original
    if max(image.size) > longest_side:
        plain = image.mode in {"RGB", "L", "CMYK"} and "transparency" not in image.info
        image = image if plain else _to_rgb(image)
        image.thumbnail((longest_side, longest_side), reducing_gap=3.0)
    image = _to_rgb(image)
    return Picture(image, key, max(original) / max(image.size), original)


def _orientation(image: Image) -> int:
    """How the EXIF says a picture is turned, 1 to 8; where that is damaged, the picture counts and stays as it is."""
    try:
        with _quietly():
            turn = image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow raises as many kinds as there are ways to damage EXIF
        return 1
    return turn if isinstance(turn, int) else 1


def _upright(image: Image, turn: int) -> Image:
    """A copy, turned back."""
    methods = pillow().Transpose
    method = {
        2: methods.FLIP_LEFT_RIGHT,
        3: methods.ROTATE_180,
        4: methods.FLIP_TOP_BOTTOM,
        5: methods.TRANSPOSE,
        6: methods.ROTATE_270,
        7: methods.TRANSVERSE,
        8: methods.ROTATE_90,
    }.get(turn)
    return image.copy() if method is None else image.transpose(method)


def _to_rgb(image: Image) -> Image:
    """RGB; 16-bit grey is scaled, transparency laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return pillow().fromarray(_grey(image)).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in {"RGBA", "LA", "PA", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = pillow().new("RGBA", image.size, (255, 255, 255, 255))
        ground.alpha_composite(image)
        return ground.convert("RGB")
    if image.mode == "RGB":
        return image.copy() if image.readonly else image
    return image.convert("RGB")


def _grey(image: Image) -> np.ndarray[Any, Any]:
    """Grey of more than eight bits in eight, from black to the white of its kind.

    Sixteen bits say what their white is. Whole numbers of 32 bits and floats do not: it is the least of 1, 255 and
    65535 that holds them all, or else the greatest of them.
    """
    import numpy as np

    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    top = 65535.0
    if not image.mode.startswith("I;16"):
        most = float(values.max())
        top = next((white for white in (1.0, 255.0, 65535.0) if most <= white), most)
    return (values.clip(0, top) / top * 255).astype(np.uint8)


def _from_array(source: object) -> Image:
    import numpy as np

    array = np.asarray(source)
    if array.ndim == 3 and array.shape[0] in {1, 3} and array.shape[-1] not in {1, 3, 4}:
        array = np.moveaxis(array, 0, -1)  # channels first, as tensors have them
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[-1] not in {3, 4}) or 0 in array.shape:
        raise PictureError(f"an array of shape {array.shape} is no picture; expected (H, W), (H, W, 3) or (H, W, 4)")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise PictureError("an array of floats must lie between 0 and 1")
        array = (array * 255).round()
    elif array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16 and array.max() > 255:
        array = array // 257  # sixteen bits
    elif array.min() < 0 or array.max() > 255:
        raise PictureError("an array of whole numbers must lie between 0 and 255")
    return pillow().fromarray(np.ascontiguousarray(array.astype(np.uint8)))


def _pixel_key(image: Image) -> str:
    try:
        content = image.tobytes()
    except Exception as error:  # a lazily opened file may turn out damaged only now
        raise PictureError(f"cannot be decoded ({_line(error)})") from None
    return hashlib.sha256(f"{image.mode}{image.size}".encode() + content).hexdigest()


def _download(url: str, *, allowed: bool) -> bytes:
    if not allowed:
        raise PictureError("is a URL; nothing is downloaded unless you ask for it (fetch_urls / --fetch-urls)")
    import urllib.error
    import urllib.request

    latest = time.monotonic() + _WHOLE_DOWNLOAD_SECONDS
    try:
        with urllib.request.urlopen(url, timeout=_DOWNLOAD_SECONDS) as answer:  # noqa: S310 (http or https)
            data = bytearray()
            while len(data) <= MOST_BYTES and (block := answer.read1(_DOWNLOADED_AT_ONCE)):
                data += block
                if time.monotonic() > latest:
                    raise TimeoutError(f"not there after {_WHOLE_DOWNLOAD_SECONDS:g} s")
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise PictureError(f"cannot be downloaded ({_line(error)})") from None
    if len(data) > MOST_BYTES:
        raise PictureError(f"is larger than {MOST_BYTES >> 20} MB")
    return bytes(data)


def _open_quietly(data: bytes) -> Image:
    """Read the header. Pillow warns of large pictures there; ours is an error with a reason instead."""
    with _quietly():
        image: Image = pillow().open(io.BytesIO(data))
        return image


@contextmanager
def _quietly() -> Iterator[None]:
    with _filter_lock, warnings.catch_warnings():  # warning filters belong to the whole process
        warnings.simplefilter("ignore")
        yield


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__
