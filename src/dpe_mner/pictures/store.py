"""Extracted parts on disk, in LMDB: memory-mapped reading, atomic writing, many readers at once.

LMDB because a write is there whole or not at all, whenever the process dies; because readers map the file and copy
nothing but what they use; and because one file of a million pictures needs no index of its own.

Entries are keyed by the picture's content and by the part's signature (settings and weights), so equal pictures are
kept once and a changed setting never meets stale features. File names are remembered beside them: a second run does
not read a picture again, and features serve where the pictures are not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpe_mner.errors import InputError
from dpe_mner.pictures.kinds import Detection, Kind, Objects, Regions

FORMAT = 1
_MAP_SIZE = 2**40  # address space, not disk: the file grows as it is filled


@dataclass(frozen=True)
class _Map:
    env: Any
    writable: bool


_OPEN: dict[tuple[int, str], _Map] = {}  # by process and folder


@dataclass(frozen=True)
class SeenFile:
    """A picture file as it was when it was extracted: its size, time of change, and content key."""

    size: int
    changed: int
    key: str


class PictureStore:
    """Parts of pictures on disk.

    Args:
        folder: The store.
        write: Create it if it is missing, and allow writing.

    Raises:
        InputError: If it is missing, foreign, or cannot be opened.
    """

    def __init__(self, folder: str | os.PathLike[str], *, write: bool = False) -> None:
        try:
            import lmdb
        except ImportError:
            raise InputError("a store of pictures needs lmdb; pip install 'dpe-mner[pictures]'") from None
        self._lmdb = lmdb
        self.folder = Path(folder)
        self.write = write
        self._path = str(self.folder.resolve())
        data = self.folder / "data.mdb"
        if not write and not data.is_file():
            raise InputError(f"{self.folder}: no store of pictures; make one with 'dpe-mner extract'")
        if (
            write
            and self.folder.exists()
            and not data.exists()
            and (not self.folder.is_dir() or any(self.folder.iterdir()))
        ):
            raise InputError(f"{self.folder}: exists and is no store of pictures; choose another --output")
        self._check_format()

    def __getstate__(self) -> dict[str, Any]:
        """A worker process gets the path, not the map."""
        return {"folder": self.folder, "write": False}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["folder"], write=state["write"])  # type: ignore[misc]

    @property
    def _env(self) -> Any:
        """The map: one a process and folder, as LMDB wants it; one that was forked must not use its parent's."""
        key = (os.getpid(), self._path)
        known = _OPEN.get(key)
        if known is not None and (known.writable or not self.write):
            return known.env
        if known is not None:
            self.close()
        _forget_inherited()
        try:
            if self.write:
                self.folder.mkdir(parents=True, exist_ok=True)
            env = self._lmdb.open(
                str(self.folder),
                map_size=_MAP_SIZE,
                readonly=not self.write,
                create=self.write,
                readahead=False,
                max_readers=512,
                lock=self.write or os.access(self.folder, os.W_OK),
            )
        except (self._lmdb.Error, OSError) as error:
            raise InputError(f"{self.folder}: cannot be opened as a store of pictures ({error})") from None
        _OPEN[key] = _Map(env, self.write)
        return env

    def close(self) -> None:
        """Give the map back; whoever still reads opens it anew."""
        known = _OPEN.pop((os.getpid(), self._path), None)
        if known is not None:
            known.env.close()

    def _check_format(self) -> None:
        found = self._get(b"format")
        if found is None and self.write:
            self._put([(b"format", str(FORMAT).encode())])
        elif found is None or found != str(FORMAT).encode():
            shown = found.decode(errors="replace") if found else "none"
            raise InputError(f"{self.folder}: store format {shown}, expected {FORMAT}; extract anew")

    def _get(self, key: bytes) -> bytes | None:
        try:
            with self._env.begin(buffers=True) as transaction:
                found = transaction.get(key)
                return None if found is None else bytes(found)
        except self._lmdb.Error as error:
            raise InputError(f"{self.folder}: damaged store of pictures ({error}); extract anew") from None

    def _put(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """All or nothing, and on the disk when this returns."""
        try:
            with self._env.begin(write=True) as transaction:
                for key, value in entries:
                    transaction.put(key, value)
        except (self._lmdb.Error, OSError) as error:
            raise InputError(f"{self.folder}: cannot be written ({error}); what was finished before is kept") from None

    def has(self, picture: str, part: str) -> bool:
        """Whether a part of a picture is there."""
        with self._env.begin(buffers=True) as transaction:
            return transaction.get(_part_key(picture, part)) is not None

    def features(self, picture: str, part: str) -> np.ndarray[Any, np.dtype[np.float16]] | None:
        """y_c of a picture, straight from the map. *Shape:* (G, channels)."""
        found = self._tensors(picture, part)
        return None if found is None else found["features"]

    def regions(self, picture: str, part: str) -> Regions | None:
        """y_f of a picture."""
        found = self._tensors(picture, part)
        if found is None:
            return None
        labels = json.loads(found["labels"].tobytes())
        boxes = [(float(a), float(b), float(c), float(d)) for a, b, c, d in found["boxes"]]
        return Regions(found["features"], boxes, labels)

    def text(self, picture: str, part: str) -> str | None:
        """A caption, or text read in the picture."""
        found = self._get(_part_key(picture, part))
        return None if found is None else found.decode("utf-8")

    def tags(self, picture: str, part: str) -> list[Detection] | None:
        """Objects of a picture."""
        found = self._get(_part_key(picture, part))
        if found is None:
            return None
        return [Detection(row["label"], row["score"], tuple(row["box"])) for row in json.loads(found)]

    def objects(self, picture: str, part: str) -> Objects | None:
        """How many objects a picture shows, and its size."""
        found = self._get(_part_key(picture, part))
        return None if found is None else Objects(**json.loads(found))

    def _tensors(self, picture: str, part: str) -> dict[str, Any] | None:
        from safetensors.numpy import load

        found = self._get(_part_key(picture, part))
        return None if found is None else load(found)

    def seen(self, name: str) -> SeenFile | None:
        """What is known of a picture file."""
        found = self._get(_name_key(name))
        return None if found is None else SeenFile(**json.loads(found))

    def parts(self) -> dict[str, dict[str, Any]]:
        """The signatures of all parts in the store, by their keys."""
        with self._env.begin() as transaction, transaction.cursor() as cursor:
            found = {}
            if cursor.set_range(b"part:"):
                for key, value in cursor:
                    if not key.startswith(b"part:"):
                        break
                    found[key[5:].decode()] = json.loads(value)
            return found

    def describe(self, part: str, signature: Mapping[str, Any]) -> None:
        """Remember what a part's key stands for."""
        value = json.dumps(signature, sort_keys=True).encode()
        key = b"part:" + part.encode()
        if self._get(key) != value:
            self._put([(key, value)])

    def add(self, parts: Iterable[tuple[str, str, Kind, object]], files: Iterable[tuple[str, SeenFile]] = ()) -> None:
        """Write parts and the files they came from, all or nothing.

        Args:
            parts: Picture key, part key, kind, value.
            files: Name and state.
        """
        entries = [(_part_key(picture, part), encode(kind, value)) for picture, part, kind, value in parts]
        entries += [(_name_key(name), json.dumps(asdict(state)).encode()) for name, state in files]
        self._put(entries)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Number of entries and their bytes, by part key."""
        totals: dict[str, tuple[int, int]] = {}
        for part, size in self._sizes():
            count, total = totals.get(part, (0, 0))
            totals[part] = (count + 1, total + size)
        return totals

    def _sizes(self) -> Iterator[tuple[str, int]]:
        with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            if cursor.set_range(b"p:"):
                for key, value in cursor:
                    name = bytes(key)
                    if not name.startswith(b"p:"):
                        break
                    yield name.split(b":")[2].decode(), len(value)


def encode(kind: Kind, value: object) -> bytes:
    """A part as bytes: tensors as safetensors, objects as JSON, text as UTF-8."""
    from safetensors.numpy import save

    if kind == "grid":
        return save({"features": np.ascontiguousarray(value)})
    if kind == "regions":
        assert isinstance(value, Regions)
        boxes = np.asarray(value.boxes, dtype=np.float32).reshape(-1, 4)
        labels = np.frombuffer(json.dumps(list(value.labels)).encode(), dtype=np.uint8)
        return save({"features": np.ascontiguousarray(value.features), "boxes": boxes, "labels": labels})
    if kind == "tags":
        assert isinstance(value, list | tuple)
        return json.dumps([asdict(detection) for detection in value]).encode()
    if kind == "objects":
        assert isinstance(value, Objects)
        return json.dumps(asdict(value)).encode()
    return str(value).encode("utf-8")


def region_part(part: str, query: Iterable[str]) -> str:
    """The part key of regions that depend on a post's phrases."""
    phrases = list(query)
    if not phrases:
        return part
    return f"{part}-{hashlib.sha256(json.dumps(phrases).encode()).hexdigest()[:16]}"


def _forget_inherited() -> None:
    """Drop the maps of a process this one was forked from: they must not be used, and block opening anew."""
    for inherited in [known for known in _OPEN if known[0] != os.getpid()]:
        _OPEN.pop(inherited).env.close()


def _part_key(picture: str, part: str) -> bytes:
    return f"p:{picture}:{part}".encode()


def _name_key(name: str) -> bytes:
    return b"n:" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest().encode()
