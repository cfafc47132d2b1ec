"""Part ``cold_start``: seconds from a fresh interpreter to the first answer, step by step; by PyTorch and by ONNX.

Each round is a process of its own, which runs this very file; so nothing heavy may be imported here before the clock
asks for it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from dpe_mner.bench.subject import Subject

POST = "Kevin Durant enters Oracle Arena"


def check(subject: Subject) -> None:
    """Refuse a model that no other process can load, and an ONNX folder that is none."""
    subject.named_checkpoint("cold_start")
    if subject.onnx is not None and not subject.onnx.is_dir():
        raise InputError(f"{subject.onnx}: no such folder; make one with dpe-mner export --format onnx")


def measure(subject: Subject) -> dict[str, dict[str, dict[str, float]]]:
    """Median seconds of each step: ``pytorch``, ``onnx`` where a folder was given, and ``transformers``.

    ``transformers`` imports PyTorch and BERT's class and stops there: a measuring stick, not a prediction.
    """
    ways = {"pytorch": [subject.named_checkpoint("cold_start")], "transformers": []}
    if subject.onnx is not None:
        ways["onnx"] = [str(subject.onnx)]
    return {"cold_start_s": {way: median_of(way, given, rounds=subject.repeats) for way, given in ways.items()}}


def median_of(way: str, given: Sequence[str], *, rounds: int) -> dict[str, float]:
    """Median seconds of each step over fresh interpreters, and of all together.

    Args:
        way: One of :data:`WAYS`.
        given: What it loads.
        rounds: How many interpreters.

    Raises:
        InputError: If it fails, with the reason.
    """
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        began = time.time()
        command = [sys.executable, "-W", "ignore", "-m", "dpe_mner.bench.cold_start", str(began), way, *given]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"bench: cold_start by {way} failed ({reason})")
        steps = json.loads(run.stdout.splitlines()[-1])
        for name, seconds in (steps | {"together": sum(steps.values())}).items():
            found.setdefault(name, []).append(seconds)
    return {name: round(statistics.median(times), 3) for name, times in found.items()}


class Clock:
    """Seconds of the steps of this process, the first being the interpreter's own start.

    Args:
        began: ``time.time()`` just before the process was started.
    """

    def __init__(self, began: float) -> None:
        self.seconds = {"interpreter": time.time() - began}

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """Do and time it."""
        started = time.perf_counter()
        result = work()
        self.seconds[name] = time.perf_counter() - started
        return result


def by_pytorch(clock: Clock, name: str) -> None:
    """A checkpoint's first answer."""
    clock.step("import_torch", lambda: import_module("torch"))
    model_class = clock.step("import_dpe_mner", lambda: import_module("dpe_mner.model")).DPEMNERModel
    loading = import_module("dpe_mner.checkpoints.loading")
    model = clock.step("load", lambda: loading.load_checkpoint(model_class, name))
    clock.step("first_post", lambda: model.predict(POST))


def by_onnx(clock: Clock, folder: str) -> None:
    """An exported graph's first answer."""
    runtime = clock.step("import_dpe_mner", lambda: import_module("dpe_mner.onnx.runtime"))
    model = clock.step("load", lambda: runtime.OnnxModel(folder))
    clock.step("first_post", lambda: model.predict(POST))


def by_transformers(clock: Clock) -> None:
    """The imports alone that transformers' BERT takes."""
    clock.step("import_torch", lambda: import_module("torch"))
    clock.step("import_bert_model", lambda: import_module("transformers.models.bert.modeling_bert"))


WAYS: dict[str, Callable[..., None]] = {"pytorch": by_pytorch, "onnx": by_onnx, "transformers": by_transformers}


def main(began: str, way: str, *given: str) -> None:
    """One round: the steps' seconds as a line of JSON on stdout."""
    clock = Clock(float(began))
    WAYS[way](clock, *given)
    sys.stdout.write(json.dumps(clock.seconds) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
