"""Formats that Pillow does not read by itself: what they are, and what to install or do."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_HEIC_ADVICE = "is a HEIC picture, which needs pillow-heif; pip install pillow-heif"
_AVIF_ADVICE = "is an AVIF picture, which needs a newer Pillow; pip install 'pillow>=11.3'"
_JXL_ADVICE = "is a JPEG XL picture, which needs pillow-jxl-plugin; pip install pillow-jxl-plugin"
# Nothing that was matched is matched anew in another way (*+), or a few bytes would keep it busy for ever.
_SVG = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?:\s++|<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE\s+svg[^>\[]*+(?:\[[^\]]*+\])?[^>]*+>)*+"
    rb"<(?:\w+:)?svg[\s>]",
    re.S,
)
_PAGE = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_LOOKED_AT = 4096  # bytes


def foreign_format(data: bytes) -> str | None:
    """What a file is that Pillow cannot identify, and what to do; None if this does not know either.

    Args:
        data: All of it, or its beginning.
    """
    head = bytes(data[:_LOOKED_AT])
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[k : k + 4] for k in range(16, 64, 4))}
        if b"avif" in brands or b"avis" in brands:
            return _AVIF_ADVICE
        return _HEIC_ADVICE if brands & _HEIC else "is a video; give one of its frames as a picture"
    if head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return _JXL_ADVICE
    if _SVG.match(head):
        return "is an SVG drawing; make a PNG of it: pip install cairosvg, then cairosvg drawing.svg -o drawing.png"
    if head.startswith(b"%PDF"):
        return "is a PDF document; make a PNG of its page: pip install pypdfium2, then pypdfium2 render"
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "is a PostScript drawing, which only a program can draw; make a PNG of it"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "is a video; give one of its frames as a picture"
    return "is a web page, not a picture" if _PAGE.match(head) else None


@cache
def register_plugins() -> None:
    """Let Pillow read HEIC and JPEG XL where their packages are installed."""
    if find_spec("pillow_heif") is not None:
        import_module("pillow_heif").register_heif_opener()
    if find_spec("pillow_jxl") is not None:
        import_module("pillow_jxl")
