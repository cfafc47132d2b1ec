"""Opening files that may be compressed: ``.gz`` and ``.zst`` are read and written by their ending."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO, cast

from dpe_mner.errors import InputError

COMPRESSED = (".gz", ".zst")
_BLOCK = 1 << 16  # bytes of a compressed file read at once
_PIECE = 1 << 12  # bytes of a .zst file unpacked at once; four bytes of it can stand for 128 KB


class CutShort(Exception):
    """A compressed file that is damaged, or ends before its content does; everything read before is good."""


def expand(path: str | os.PathLike[str]) -> str:
    """A path as it is used: ``~`` is the home folder."""
    return os.path.expanduser(os.fspath(path))


def bare_ending(path: str | os.PathLike[str]) -> str:
    """The ending in lower case that tells the format: ``.jsonl`` of ``posts.JSONL.gz``."""
    plain = Path(path)
    return (Path(plain.stem) if plain.suffix.lower() in COMPRESSED else plain).suffix.lower()


def compression(path: str | os.PathLike[str]) -> str:
    """``.gz``, ``.zst``, or nothing."""
    ending = Path(path).suffix.lower()
    return ending if ending in COMPRESSED else ""


def open_bytes(path: str | os.PathLike[str]) -> BinaryIO:
    """The content of a file (``-`` for standard input), whatever it is compressed with.

    Raises:
        InputError: If it cannot be opened, or what its compression needs is not installed.
    """
    name = expand(path)
    if name == "-":
        return _standard_input()
    if compression(name) == ".zst":
        require_zstd(name)
    try:
        plain = open(name, "rb")
    except (OSError, ValueError) as error:  # a path may hold a null byte
        raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', error)}); check the path") from None
    if compression(name) == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=plain, mode="rb"))
    if compression(name) == ".zst":
        return cast(BinaryIO, io.BufferedReader(_Frames(plain), _BLOCK))
    return plain


def open_text(path: str | os.PathLike[str]) -> TextIO:
    """:func:`open_bytes` as UTF-8 text, with or without a byte order mark."""
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig")


READ_ERRORS = (EOFError, OSError, zlib.error, CutShort)
"""What reading an opened file may raise: ``EOFError`` and ``zlib.error`` are a damaged ``.gz``."""


def compressed(content: bytes, path: str | os.PathLike[str]) -> bytes:
    """Content as a file of this name holds it.

    Raises:
        InputError: If what its compression needs is not installed.
    """
    ending = compression(path)
    if ending == ".gz":
        return gzip.compress(content, mtime=0)
    if ending == ".zst":
        found: bytes = require_zstd(path).ZstdCompressor().compress(content)
        return found
    return content


def copy_compressed(source: Path, target: BinaryIO, path: str | os.PathLike[str]) -> None:
    """Copy a plain file of any size to an open one that is compressed as ``path`` says."""
    packed: IO[bytes]
    if compression(path) == ".gz":
        packed = cast(IO[bytes], gzip.GzipFile(filename="", fileobj=target, mode="wb", mtime=0))
    else:
        packed = require_zstd(path).ZstdCompressor().stream_writer(target, closefd=False)
    with source.open("rb") as stream, packed:
        while block := stream.read(_BLOCK):
            packed.write(block)


def require_zstd(path: str | os.PathLike[str]) -> Any:
    """The ``zstandard`` package.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import zstandard
    except ImportError:
        name = os.fspath(path)
        raise InputError(f"{name}: .zst files need zstandard; run pip install 'dpe-mner[zstd]'") from None
    return zstandard


def _standard_input() -> BinaryIO:
    """Standard input with a buffer of its own: a thread may still wait in it when the program ends."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except (OSError, ValueError, AttributeError):  # replaced by something in memory, or closed
        if sys.stdin is None:
            raise InputError("standard input is closed; give a file") from None
        return sys.stdin.buffer


class _Frames(io.RawIOBase):
    """The content of one Zstandard frame after the other. A frame without its end is an error, not an end."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._package = require_zstd("")
        self._frame: Any = None
        self._ahead = b""  # compressed, not looked at yet
        self._content = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            self._ahead = self._ahead or self._source.read(_PIECE)
            if not self._ahead:
                if self._frame is not None:
                    raise CutShort("ends in the middle of a frame")
                return 0
            self._frame = self._frame or self._package.ZstdDecompressor().decompressobj()
            given, self._ahead = self._ahead, b""
            try:
                self._content = self._frame.decompress(given)
            except self._package.ZstdError as error:
                raise CutShort(str(error)) from None
            if self._frame.eof:
                self._ahead, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._content))
        buffer[:count], self._content = self._content[:count], self._content[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
