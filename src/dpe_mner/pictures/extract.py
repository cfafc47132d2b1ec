"""A folder of pictures into a store: resumable, flat in memory, every failure listed and none fatal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dpe_mner.data.joining import PICTURE_ENDINGS, picture_id
from dpe_mner.errors import InputError
from dpe_mner.pictures.kinds import Kind
from dpe_mner.pictures.opening import Picture, PictureError, decode, open_picture, read_bytes
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.store import PictureStore, SeenFile, region_part
from dpe_mner.pictures.weights import ProviderError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class ExtractReport:
    """What became of the pictures: made, already there, equal to another; failed ones with their reasons."""

    made: int = 0
    present: int = 0
    equal: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """All pictures looked at."""
        return self.made + self.present + self.equal + len(self.failed)


Progress = Callable[[ExtractReport], None]


@dataclass(frozen=True)
class _Job:
    """A picture file, the phrases its regions are for, and what is still to be made of it."""

    name: str
    path: Path
    size: int
    changed: int
    queries: Sequence[Sequence[str]]
    known: str | None


def picture_files(folder: Path) -> list[Path]:
    """All picture files below a folder, in order of name.

    Raises:
        InputError: If the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of pictures")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS)
    if not found:
        raise InputError(f"{folder}: holds no picture ({', '.join(PICTURE_ENDINGS)})")
    return found


class Extractor:
    """Makes the parts of many pictures.

    Args:
        reader: Which parts.
        store: Where to; open for writing.
        folder: Names count from here.
        batch_size: Pictures decoded, computed and written together.
        workers: Threads that decode.
        queries: Noun phrases by file name, for grounded regions.
        crops: Ready-made crop files by file name.

    Raises:
        InputError: If the settings ask for no part, or a part's models are not available.
    """

    def __init__(
        self,
        reader: PictureReader,
        store: PictureStore,
        folder: Path,
        *,
        batch_size: int = 32,
        workers: int = 2,
        queries: Mapping[str, Sequence[Sequence[str]]] | None = None,
        crops: Mapping[str, Sequence[Path]] | None = None,
    ) -> None:
        if not reader.kinds:
            raise InputError("nothing to extract: choose a part, e.g. --grid MODEL")
        problems = [problem for kind in reader.kinds if (problem := reader.problem(kind)) is not None]
        if problems:
            raise InputError(problems[0])
        self.reader = reader
        self.store = store
        self.folder = folder
        self.batch_size = batch_size
        self.workers = workers
        self.queries = queries or {}
        self.crops = crops or {}
        self._crops_by_id = {picture_id(name): own for name, own in reversed(list(self.crops.items()))}
        self._queries_by_id: dict[str, list[Sequence[str]]] = {}
        for name, own_queries in self.queries.items():
            self._queries_by_id.setdefault(picture_id(name), []).extend(own_queries)
        self.parts: dict[Kind, str] = {kind: reader.key(kind) for kind in reader.kinds}
        for kind, part in self.parts.items():
            try:
                signature = reader.signature(kind) | {"channels": reader.channels(kind)}
                if stages := reader.stage_channels(kind):
                    signature["stage_channels"] = list(stages)
            except ProviderError as error:
                raise InputError(str(error)) from None
            store.describe(part, signature)

    def __call__(self, files: Sequence[Path], progress: Progress = lambda report: None) -> ExtractReport:
        """Extract; what is there already is left alone.

        Args:
            files: Pictures below the folder.
            progress: Called after every batch.
        """
        report = ExtractReport()
        started = time.monotonic()
        pending = self._pending(files, report)
        with ThreadPoolExecutor(self.workers) as pool:
            for batch in _ahead(pool, self._open, pending, self.batch_size):
                self._batch(batch, report)
                report.seconds = time.monotonic() - started
                progress(report)
        report.seconds = time.monotonic() - started
        progress(report)
        return report

    def _pending(self, files: Sequence[Path], report: ExtractReport) -> Iterator[_Job]:
        """Files with something left to make."""
        for path in files:
            name = str(path.relative_to(self.folder))
            try:
                status = path.stat()
            except OSError as error:
                report.failed.append((name, f"cannot be read ({error.strerror})"))
                continue
            queries = self.queries.get(name) or self._queries_by_id.get(picture_id(name)) or [()]
            seen = self.store.seen(name)
            known = None
            if seen is not None and (seen.size, seen.changed) == (status.st_size, status.st_mtime_ns):
                known = seen.key
                if not self._missing(seen.key, queries):
                    report.present += 1
                    continue
            yield _Job(name, path, status.st_size, status.st_mtime_ns, queries, known)

    def _missing(self, key: str, queries: Sequence[Sequence[str]]) -> list[tuple[Kind, Sequence[str]]]:
        """Kinds, with the phrases they are for, that the store lacks of a picture."""
        missing: list[tuple[Kind, Sequence[str]]] = []
        for kind, part in self.parts.items():
            for query in queries if kind == "regions" else [()]:
                if not self.store.has(key, region_part(part, query)):
                    missing.append((kind, query))
        return missing

    def _open(self, job: _Job) -> tuple[Picture, list[Image]]:
        side = self.reader.settings.longest_side
        picture = decode(read_bytes(job.path), longest_side=side)
        crops = self.crops.get(job.name) or self._crops_by_id.get(picture_id(job.name)) or ()
        return picture, [open_picture(crop, longest_side=side).image for crop in crops]

    def _batch(self, batch: Sequence[tuple[_Job, Future[tuple[Picture, list[Image]]]]], report: ExtractReport) -> None:
        files, new, groups = [], set(), {}  # type: ignore[var-annotated]
        for job, future in batch:
            try:
                picture, crops = future.result()
            except PictureError as error:
                report.failed.append((job.name, str(error)))
                continue
            files.append((job.name, SeenFile(job.size, job.changed, picture.key)))
            missing = self._missing(picture.key, job.queries) if picture.key not in new else []
            if not missing:
                report.equal += 1
                continue
            new.add(picture.key)
            report.made += 1
            for query in dict.fromkeys(tuple(query) for _, query in missing):
                kinds = tuple(kind for kind, other in missing if tuple(other) == query)
                groups.setdefault(kinds, []).append((picture, query, crops))
        self.store.add(self._parts(groups), files)

    def _parts(
        self, groups: Mapping[tuple[Kind, ...], Sequence[tuple[Picture, Sequence[str], Sequence[Image]]]]
    ) -> Iterator[tuple[str, str, Kind, object]]:
        for kinds, members in groups.items():
            made = self.reader(
                [picture for picture, _, _ in members],
                kinds=kinds,
                queries=[query for _, query, _ in members],
                crops=[crops for _, _, crops in members],
            )
            for (picture, query, _), parts in zip(members, made, strict=True):
                for kind in kinds:
                    part = region_part(self.parts[kind], query if kind == "regions" else ())
                    yield picture.key, part, kind, getattr(parts, kind)


def _ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[_Job], tuple[Picture, list[Image]]],
    jobs: Iterator[_Job],
    size: int,
) -> Iterator[list[tuple[_Job, Future[tuple[Picture, list[Image]]]]]]:
    """Batches of jobs, the next one decoding while this one is computed: never more than two in memory."""

    def submit() -> list[tuple[_Job, Future[tuple[Picture, list[Image]]]]]:
        return [(job, pool.submit(work, job)) for job in islice(jobs, size)]

    current = submit()
    while current:
        following = submit()
        yield current
        current = following


def default_workers() -> int:
    """Threads that decode: half of the processors, at least one."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))
