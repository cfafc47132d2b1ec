"""The parts of ``dpe-mner bench``, by name, and the one dictionary their figures come back in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dpe_mner.bench import calls, cold_start, footprint, int8, paper_setting, phases, pictures, prediction, training
from dpe_mner.bench.subject import Subject
from dpe_mner.errors import InputError, nearest

Log = Callable[[str], None]
VISION = "vision"  # trains models of its own instead of measuring one: see dpe_mner.bench.vision


@dataclass(frozen=True)
class Part:
    """Something to measure.

    Attributes:
        measure: Gives its figures; no two parts give the same key.
        what: What they are, in a line.
        usual: Measured when nobody asks for parts.
        check: Refuses a subject that misses something the part needs, before anything is measured.
    """

    measure: Callable[[Subject], dict[str, Any]]
    what: str
    usual: bool = False
    check: Callable[[Subject], None] = lambda subject: None


PARTS: dict[str, Part] = {  # in the order they run: training last, for it takes more memory than prediction
    "cold_start": Part(
        cold_start.measure, "seconds from a fresh interpreter to the first answer", check=cold_start.check
    ),
    "prediction": Part(prediction.measure, "posts a second, as ratios to the bare encoder", usual=True),
    "latency": Part(calls.measure_latency, "milliseconds of one post alone", usual=True),
    "scaling": Part(calls.measure_scaling, "milliseconds a call as one size grows", usual=True),
    "phases": Part(phases.measure, "where the time of a prediction goes"),
    "int8": Part(int8.measure, "an int8 encoder against float32: time, F1, answers that differ", check=int8.check),
    "paper_setting": Part(paper_setting.measure, "the default against the paper's 150 spans and 5 steps"),
    "pictures": Part(
        pictures.measure, "extraction and prediction from pictures against the bare models", check=pictures.check
    ),
    "memory": Part(
        footprint.measure, "peak memory of prediction and of training, each in a fresh process", check=footprint.check
    ),
    "training": Part(training.measure, "a training step as a ratio to the encoder's", usual=True),
}
USUAL = tuple(name for name, part in PARTS.items() if part.usual)
KNOWN = (*PARTS, VISION)


def named_parts(given: Sequence[str] | None) -> tuple[str, ...]:
    """The parts that were asked for, by repeated or comma-separated names; the usual ones when none were.

    Raises:
        InputError: On an unknown part, or vision beside parts that measure speed.
    """
    names = tuple(dict.fromkeys(name.strip() for value in given or () for name in value.split(",")))
    for name in names:
        if name not in KNOWN:
            raise InputError(f"bench: no part {name!r}{nearest(name, KNOWN)}; there are {', '.join(KNOWN)}")
    if VISION in names and len(names) > 1:
        raise InputError("bench: --only vision measures no speed; run it by itself")
    return names or USUAL


def measure(subject: Subject, names: Sequence[str] = USUAL, *, log: Log = lambda line: None) -> dict[str, Any]:
    """Measure parts of :data:`PARTS`; figures of the others are not in the result.

    Args:
        subject: What to measure.
        names: Which parts.
        log: Receives what is being done.

    Raises:
        InputError: On an unknown part, or one that misses something it needs.
    """
    chosen = named_parts(names)
    if VISION in chosen:
        raise InputError("bench: vision trains models of its own; see dpe_mner.bench.vision.tasks.VisionBench")
    for name in chosen:
        PARTS[name].check(subject)
    result: dict[str, Any] = {"posts": len(subject.posts)}
    for name, part in PARTS.items():
        if name in chosen:
            log(f"{name} ...")
            result |= part.measure(subject)
    return result | subject.facts()
