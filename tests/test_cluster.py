"""The simulated cluster, where it can be reckoned by hand, and where it cannot."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from cluster import Cluster, Simulation

STEADY = Cluster(
    posts=1_000_000, machines=2, cores=5, rate=100.0, start=7.0, part=1000, bytes_in=0.0, bytes_out=0.0, store=1e9,
    between_failures=1e9, repair=10.0,
)  # fmt: skip


def test_without_failures_it_is_start_and_rounds_of_parts():
    assert Simulation(STEADY, seed=0)()["hours"] == pytest.approx((7 + 100 * 10) / 3600, abs=0.005)


def test_a_slow_store_is_what_all_wait_for():
    told = Simulation(replace(STEADY, bytes_in=100_000.0, store=1e7), seed=0)()
    assert told["hours"] == pytest.approx(1_000_000 * 100_000 / 1e7 / 3600, rel=0.02)
    assert told["share_store"] > 0.8


def test_failures_cost_time_and_no_part_is_lost_or_done_twice():
    runs = [Simulation(replace(STEADY, between_failures=0.1), seed=seed) for seed in (0, 1, 3)]
    told = [run() for run in runs]
    for run, figures in zip(runs, told, strict=True):
        assert run.done == run.parts
        assert run.waiting == 0
        assert figures["failures"] > 0 < figures["parts_begun_again"]
        assert figures["hours"] > 1007 / 3600 + 10 / 60  # at least one repair
        assert figures["share_answering"] + figures["share_starting"] < 1
    assert len({figures["hours"] for figures in told}) > 1
