"""The folder a bulk run writes to: whose it is, what of it is done, what is left, and that only one driver is at it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpe_mner.data.writing import lock_alone, write_whole
from dpe_mner.errors import InputError
from dpe_mner.scale.part_files import (
    FAILED,
    MANIFEST,
    Written,
    drop_left_over,
    failed_path,
    look_at,
    part_path,
    parts_there,
    read_manifest,
)
from dpe_mner.scale.rows import part_name
from dpe_mner.scale.sources import Source

_FORMAT = 1
_LOCK = ".lock"
_SECONDS = 15.0  # between two writings of the manifest; a part that it does not name yet is found by its name


class BulkOutput:
    """The parts of a run, and its manifest.

    Args:
        folder: Is made if there is none.
        belongs_to: What the answers depend on, by the name users know it by.
        sources: What is read.
        ending: Of the parts.
        resume: Go on after the parts an earlier driver left.

    Raises:
        InputError: If another driver is at it, it holds something else or parts of another run, or has parts that
            ``resume`` was not given for.
        OSError: If it cannot be written.
    """

    def __init__(
        self, folder: Path, belongs_to: Mapping[str, str], sources: Sequence[Source], ending: str, *, resume: bool
    ) -> None:
        self.folder, self.sources, self.ending = folder, list(sources), ending
        self.belongs_to = dict(belongs_to)
        self.run = hashlib.sha256(json.dumps(self.belongs_to, sort_keys=True).encode()).hexdigest()
        self.done: dict[str, Written] = {}
        self.parts: dict[int, int] = {}  # of a source, where it was read to its end
        self._wrote = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_alone(self._handle, folder)
            self._check_earlier(resume)
            (folder / FAILED).mkdir(exist_ok=True)
            drop_left_over(folder)
            self.write()
        except BaseException:
            self.close()
            raise
        self.earlier = len(self.done)

    def _check_earlier(self, resume: bool) -> None:
        card = read_manifest(self.folder)
        again = "give another --output, or remove it"
        if not card:
            others = sorted({path.name for path in self.folder.iterdir()} - {_LOCK})
            if others:
                raise InputError(
                    f"--output {self.folder}: holds {others[0]!r} and no {MANIFEST} of a bulk run; give a new folder"
                )
            return
        earlier = card.get("belongs_to")
        if card.get("format") != _FORMAT or not isinstance(earlier, dict):
            raise InputError(f"{self.folder / MANIFEST}: is no manifest of a bulk run; {again}")
        differing = sorted(k for k in {*self.belongs_to, *earlier} if self.belongs_to.get(k) != earlier.get(k))
        if differing:
            raise InputError(f"--output {self.folder}: is of another run ({', '.join(differing)} differ); {again}")
        self.done = standing(self.folder, self.ending, card)
        self.parts = {k: n for k, n in enumerate(_numbers(card)) if n is not None and k < len(self.sources)}
        if self.done and not resume:
            raise InputError(
                f"--output {self.folder}: holds {len(self.done)} finished parts of this run; "
                "add --resume to go on after them, or remove it"
            )

    def left(self) -> list[Source]:
        """Sources that are not done to their end."""
        return [source for source in self.sources if not self._whole(source.number)]

    def _whole(self, source: int) -> bool:
        count = self.parts.get(source)
        return count is not None and all(part_name(source, k) in self.done for k in range(count))

    def took(self, name: str, written: Written | None, *, source: int, number: int, last: bool) -> None:
        """Take note of a part.

        Args:
            name: Of the part.
            written: What is in it; None where it was done before.
            source: That it is of.
            number: Its place there.
            last: Whether the source ends with it.

        Raises:
            OSError: If the manifest cannot be written.
        """
        if written is not None:
            self.done[name] = written
        if last:
            self.parts[source] = number + 1
        if time.monotonic() - self._wrote > _SECONDS:
            self.write()

    @property
    def rows(self) -> int:
        """Posts with an answer."""
        return sum(part.rows for part in self.done.values())

    @property
    def failed(self) -> int:
        """Posts without one."""
        return sum(part.failed for part in self.done.values())

    def write(self) -> None:
        """Write the manifest whole.

        Raises:
            OSError: If it cannot be written; the one that was there is there still.
        """
        card: dict[str, Any] = {
            "format": _FORMAT,
            "run": self.run,
            "complete": not self.left(),
            "posts": self.rows,
            "failed": self.failed,
            "belongs_to": self.belongs_to,
            "sources": [{"file": source.name, "parts": self.parts.get(source.number)} for source in self.sources],
            "parts": {f"part-{name}{self.ending}": self.done[name].as_dict() for name in sorted(self.done)},
        }
        write_whole(self.folder / MANIFEST, json.dumps(card, indent=1) + "\n")
        self._wrote = time.monotonic()

    def close(self) -> None:
        """Let another driver have the folder."""
        with suppress(OSError):
            os.close(self._handle)


def standing(folder: Path, ending: str, card: Mapping[str, Any]) -> dict[str, Written]:
    """Parts that are done: those that lie there as the manifest has them, or whole where it does not name them yet.

    Args:
        folder: Of the run.
        ending: Of its parts.
        card: The manifest.

    Raises:
        OSError: If a part cannot be read.
    """
    named = card.get("parts")
    named = named if isinstance(named, dict) else {}
    done = {}
    for name in parts_there(folder, ending):
        path = part_path(folder, name, ending)
        try:
            told = Written(**named[path.name])
        except (KeyError, TypeError):
            done[name] = look_at(folder, name, ending)
            continue
        if path.stat().st_size == told.bytes and (not told.failed or failed_path(folder, name).exists()):
            done[name] = told
    return done


def _numbers(card: Mapping[str, Any]) -> list[int | None]:
    sources = card.get("sources")
    found = [source.get("parts") for source in sources] if isinstance(sources, list) else []
    return [number if isinstance(number, int) else None for number in found]
