"""Several processes write what one would, in its order, and end when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import jsonl
from helpers import assert_refused, lines_of, run

from dpe_mner.errors import InputError
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.scale.loading import ModelChoice
from dpe_mner.scale.workers import Workers, few
from dpe_mner.types import Post

ROWS = [{"id": str(k), "text": f"Kevin visits Paris {'again ' * (k % 7)}{k}"} for k in range(75)]


@pytest.fixture(scope="module")
def pool(saved_model):
    with Workers(2, ModelChoice(name=saved_model), PredictionOptions(batch_size=4)) as workers:
        yield workers


def test_order_answers_and_errors_are_those_of_one_process(pool, saved_model):
    posts = [Post(**row) for row in ROWS]

    def stretches():
        for start in range(0, 60, 10):
            yield posts[start : start + 10]
        raise InputError("line 61: cut off")

    expected = ModelChoice(name=saved_model).load().predict(posts[:60], explain=True, batch_size=4)
    found, answers = [], pool(stretches())
    for _ in range(6):
        found += next(answers)
    with pytest.raises(InputError, match="line 61: cut off"):
        next(answers)
    assert [one.id for one in found] == [row["id"] for row in ROWS[:60]]
    for one, other in zip(found, expected, strict=True):
        assert [(e.start, e.end, e.label) for e in one.entities] == [(e.start, e.end, e.label) for e in other.entities]
        assert [e.score for e in one.entities] == pytest.approx([e.score for e in other.entities], abs=1e-4)


def test_the_reader_is_not_run_ahead_of_without_bound(pool):
    read = 0

    def stretches():
        nonlocal read
        for row in ROWS * 4:
            read += 1
            yield [Post(**row)]

    found = pool(stretches())
    next(found)
    time.sleep(1)
    assert 1 <= read <= 8  # 2 x 2 wait, one is being handed over, one was taken, one is made
    found.close()
    assert [one[0].id for one in pool([[Post(**ROWS[3])]])] == ["3"]


@pytest.mark.slow
def test_what_is_wrong_in_a_worker_is_the_callers_error(saved_model, tmp_path):
    with (
        Workers(2, ModelChoice(name=str(tmp_path)), PredictionOptions()) as workers,
        pytest.raises(InputError, match=str(tmp_path)),
    ):
        list(workers([[Post(text="Paris")]]))


@pytest.mark.slow
def test_a_killed_worker_is_one_clear_line(saved_model):
    with Workers(2, ModelChoice(name=saved_model), PredictionOptions()) as workers:
        found = workers([Post(**row)] for row in ROWS)
        next(found)
        for process in list(workers._pool._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(InputError, match="fewer --workers"):
            list(found)


def test_few_posts_are_told_and_none_is_lost():
    posts = [Post(text=str(k)) for k in range(4)]

    def broken():
        yield from posts[:2]
        raise InputError("line 3: wrong")

    alone, again = few(posts, 4)
    assert alone
    assert list(again) == posts
    alone, again = few(posts, 3)
    assert not alone
    assert list(again) == posts
    alone, again = few(broken(), 4)
    assert [next(again), next(again)] == posts[:2]
    with pytest.raises(InputError, match="line 3"):
        next(again)


def test_the_command_writes_the_same_file_and_resumes_it(saved_model, write, tmp_path, monkeypatch):
    monkeypatch.setattr("dpe_mner.commands.predict._AT_ONCE", 2)
    posts = write("posts.jsonl", jsonl(ROWS))
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    common = ("predict", posts, "--model", saved_model, "--batch-size", "4", "--quiet")
    assert run(*common, "--output", one).returncode == 0
    assert run(*common, "--output", two, "--workers", "2").returncode == 0
    told, same = lines_of(one.read_bytes()), lines_of(two.read_bytes())
    assert [line["id"] for line in same] == [line["id"] for line in told] == [row["id"] for row in ROWS]
    for line, other in zip(told, same, strict=True):
        for entity, twin in zip(line["entities"], other["entities"], strict=True):
            assert entity | {"score": 0} == twin | {"score": 0}
            assert entity["score"] == pytest.approx(twin["score"], abs=1e-4)


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_and_is_gone_on_with(saved_model, write, tmp_path):
    rows = [{"id": str(k), "text": f"Kevin visits Paris {k}"} for k in range(40_000)]
    posts, output = write("posts.jsonl", jsonl(rows)), tmp_path / "out.jsonl"
    arguments = ["predict", posts, "--model", saved_model, "--output", output, "--workers", "2", "--batch-size", "4"]
    process = subprocess.Popen([sys.executable, "-m", "dpe_mner", *map(str, arguments)], start_new_session=True)
    part = tmp_path / "out.jsonl.part"
    try:
        while not (part.exists() and part.stat().st_size):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 60
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(process.pid)
    kept = part.read_bytes().split(b"\n")[:-1]  # a last line that is not whole does not count
    assert [json.loads(line)["id"] for line in kept] == [row["id"] for row in rows[: len(kept)]]


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
        return True
    except ProcessLookupError:
        return False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("posts.jsonl", "--workers", "0"), ("--workers", "from 1")),
        (("--text", "Paris", "--workers", "2"), ("--workers", "--text")),
        (("posts.jsonl", "--workers", "2", "--html", "page.html"), ("--workers", "--html")),
    ],
)
def test_workers_where_they_make_no_sense_are_refused(arguments, words, tmp_path):
    assert_refused(run("predict", *arguments, cwd=tmp_path), *words)
