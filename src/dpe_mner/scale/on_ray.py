"""A bulk run on Ray Data: reading tasks cut the sources into parts, actors with a model answer and write them.

What runs where, retries, restarts of actors and back-pressure are Ray's. A row of the data set is a part: it goes to an
actor as one piece, and what comes back to the driver is a line about it.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dpe_mner.errors import InputError
from dpe_mner.scale.answering import Answerer, BulkWork
from dpe_mner.scale.bulk_output import BulkOutput
from dpe_mner.scale.part_files import Written, write_part
from dpe_mner.scale.rows import Part, parts_of
from dpe_mner.scale.sources import Source

_SECONDS = 5.0  # for an address to answer
_AHEAD = 2  # parts an actor has before it
_TRIES = 4  # of a part whose actor died


@dataclass(frozen=True, kw_only=True)
class RayActors:
    """Who answers.

    Attributes:
        count: Actors, each with a model and one core.
        gpus: GPUs of each; a share of one lets several sit on it.
        address: Of a cluster; this machine when not given.
    """

    count: int = 1
    gpus: float = 0.0
    address: str | None = None


def require_ray() -> Any:
    """The ``ray`` package, told to call nobody.

    Raises:
        InputError: If it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("--engine ray needs ray; run pip install 'dpe-mner[ray]'") from None
    return ray


def check_address(address: str) -> None:
    """Refuse an address where nothing listens.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``.

    Raises:
        InputError: Saying what to check.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--ray-address {address!r}: expected HOST:PORT, e.g. head-node:6379, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--ray-address {address}: does not answer ({reason}); is the cluster up?") from None


@contextmanager
def cluster(actors: RayActors) -> Iterator[Any]:
    """Ray, connected to a cluster, or to one of this process's own on this machine that ends with it.

    Raises:
        InputError: If ray is missing, or the cluster cannot be joined.
    """
    ray = require_ray()
    with _quiet():
        yield from _joined(ray, actors)


def _joined(ray: Any, actors: RayActors) -> Iterator[Any]:
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        _join(ray, actors)
        for kind, handler in handlers.items():  # ray takes them for itself, and ends the process at once
            signal.signal(kind, handler)
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray's libraries say of themselves to its log files; what we say still reaches standard error."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        own = sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):  # in memory
        own = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not own:
            yield
            return
        before, kept = sys.stderr, os.dup(2)
        sink = os.open(os.devnull, os.O_WRONLY)
        sys.stderr = open(kept, "w", buffering=1, encoding=before.encoding, errors=before.errors, closefd=False)
        os.dup2(sink, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            sys.stderr = before
            os.close(kept)
            os.close(sink)


def _join(ray: Any, actors: RayActors) -> None:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if actors.address is not None:
        try:
            ray.init(address=actors.address, **common)
        except Exception as error:  # of many kinds: nobody there, another version of ray or Python
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"--ray-address {actors.address}: cannot be joined ({reason})") from None
        return
    cores = max(os.cpu_count() or 1, actors.count)
    for last in (False, True):
        try:
            # "local": a cluster that happens to run here, or that RAY_ADDRESS names, was not asked for.
            ray.init(address="local", include_dashboard=False, num_cpus=cores, **common)
            return
        except Exception as error:  # its parts give each other seconds to start, too few on a machine that is busy
            ray.shutdown()
            if last:
                reason = " ".join(str(error).split())[:300]
                raise InputError(
                    f"--engine ray: Ray does not start on this machine ({reason}); if it is busy, wait, or start a "
                    "cluster with 'ray start --head' and give --ray-address"
                ) from None


def run_on_ray(work: BulkWork, output: BulkOutput, actors: RayActors) -> Iterator[Written]:
    """Do what is left of a run.

    Args:
        work: What to do.
        output: What is done already; takes note of every part.
        actors: Who does it.

    Yields:
        What is in each part, as it is written.

    Raises:
        InputError: If the model cannot be loaded, a part cannot be written, or Ray gives up. Finished parts are kept.
    """
    work = replace(work, run=output.run)
    done = frozenset(output.done)
    left = output.left()
    if not left:
        return
    with cluster(actors) as ray:
        for found in _results(ray, work, left, done, actors):
            if found["error"]:
                raise InputError(found["error"])
            written = None
            if found["name"] not in done:
                written = Written(**{key: found[key] for key in ("rows", "failed", "bytes", "sha256")})
            where = {key: found[key] for key in ("source", "number", "last")}
            output.took(found["name"], written, **where)
            if written is not None:
                yield written


def _results(
    ray: Any, work: BulkWork, left: list[Source], done: Set[str], actors: RayActors
) -> Iterator[dict[str, Any]]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # a part is a block: none waits for others to fill one
    data = ray.data.from_items([{"source": source.number} for source in left], override_num_blocks=len(left))
    readers = ray.data.TaskPoolStrategy(size=min(len(left), max(2, actors.count)))
    # Reading takes no core of its own: where every core has an actor, it would never begin.
    data = data.map_batches(_read, fn_args=(work, done), batch_size=1, num_cpus=0, compute=readers)
    data = data.map_batches(
        _Actor,
        fn_constructor_args=(work,),
        batch_size=1,
        num_cpus=1,
        num_gpus=actors.gpus or None,
        compute=ray.data.ActorPoolStrategy(size=actors.count, max_tasks_in_flight_per_actor=_AHEAD),
        ray_remote_args_fn=_remote_arguments,
    )
    given_up = (
        ray.exceptions.RayActorError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
        ray.exceptions.NodeDiedError,
    )
    try:
        yield from data.iter_rows()
    except given_up as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise InputError(f"Ray gave up ({type(error).__name__}: {reason}); out of memory? Try fewer --actors") from None


def _remote_arguments() -> dict[str, Any]:
    return {"max_task_retries": _TRIES}


def _read(batch: dict[str, Any], work: BulkWork, done: Set[str]) -> Iterator[dict[str, Any]]:
    """A task: a source to its parts, one after the other as they are asked for."""
    for number in batch["source"]:
        for part in parts_of(work.sources[int(number)], work.columns, rows=work.part_rows, done=done):
            yield {"part": [pickle.dumps(part)]}


class _Actor:
    """Loads a model once and answers parts. What is wrong with the model is told with the first part."""

    def __init__(self, work: BulkWork) -> None:
        self.work, self.error = work, ""
        try:
            self.answer = Answerer(work)
        except InputError as error:  # an actor that fails to start is started again for ever
            self.error = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        # Of this run's own reading task; Ray moves all that its tasks tell each other in this way.
        rows = [self._done(pickle.loads(part)) for part in batch["part"]]  # noqa: S301
        return {key: [row[key] for row in rows] for key in rows[0]}

    def _done(self, part: Part) -> dict[str, Any]:
        written, error = Written(rows=0, failed=0, bytes=0, sha256=""), self.error
        if part.rows is not None and not error:
            work = self.work
            try:
                written = write_part(
                    work.folder, part.name, work.ending, self.answer(part),
                    source=work.sources[part.source].name, explain=work.options.explain, run=work.run,
                )  # fmt: skip
            except InputError as wrong:
                error = str(wrong)
            except OSError as wrong:
                error = f"{work.folder}: cannot be written ({wrong.strerror})"
        where = {"name": part.name, "source": part.source, "number": part.number, "last": part.last}
        return {**where, **written.as_dict(), "error": error}
