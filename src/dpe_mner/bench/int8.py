"""Part ``int8``: prediction with an int8 encoder against float32: time, F1, and answers that depend on the batch."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from dpe_mner.bench.clock import in_turns
from dpe_mner.bench.subject import Subject
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.errors import InputError
from dpe_mner.evaluation.score import score
from dpe_mner.representations.quantize import quantize_int8
from dpe_mner.types import Prediction

_ALONE = 200  # posts predicted one by one


def check(subject: Subject) -> None:
    """Refuse a model that cannot be quantised."""
    if subject.device.type != "cpu" or subject.model.dtype != torch.float32:
        raise InputError("bench: int8 is measured on the CPU against float32; leave out --device and --dtype")


def measure(subject: Subject) -> dict[str, Any]:
    """Time of int8 as a ratio to float32, F1 of both where posts are labelled, and what int8 answers alone.

    ``differ_alone`` counts, of ``compared`` posts, those with other entities by themselves than in a batch.
    """
    quantised = copy.deepcopy(subject.model)
    quantize_int8(quantised.text_encoder)
    subjects = {"float32": subject, "int8": replace(subject, model=quantised)}
    seconds = in_turns(
        {name: one.predict for name, one in subjects.items()}, repeats=subject.repeats, device=subject.device
    )
    some = list(subject.posts)[:_ALONE]
    small = subjects["int8"]
    alone = [small.predict([post])[0] for post in some]
    differ = sum(_entities(a) != _entities(b) for a, b in zip(alone, small.predict(some), strict=True))
    found: dict[str, Any] = {
        "posts_per_second": {name: round(len(subject.posts) / s, 1) for name, s in seconds.items()},
        "ratio_to_float32": round(seconds["int8"] / seconds["float32"], 3),
        "differ_alone": differ,
        "compared": len(some),
    }
    if subject.labelled:
        gold = gold_of_posts(subject.posts)
        found["f1"] = {
            name: round(score(gold, [_entities(answer) for answer in one.predict()]).overall.f1, 2)
            for name, one in subjects.items()
        }
    return {"int8": found}


def _entities(prediction: Prediction) -> list[tuple[int, int, str]]:
    return [(e.start, e.end, e.label) for e in prediction.entities]
