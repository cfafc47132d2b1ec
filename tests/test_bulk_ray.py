"""The bulk engine on a real Ray cluster of this machine, with processes killed in the middle.

It takes minutes, for each driver imports everything anew. The cluster is started once, with ports of its own: Ray gives
parts of it fifteen seconds to name theirs, too few on a machine that is busy. RAY_ADDRESS names one that runs already.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest
from conftest import jsonl
from helpers import lines_of

pytest.importorskip("ray", reason="ray is not installed: pip install 'dpe-mner[ray]'")
pytestmark = pytest.mark.slow
ROWS = [{"id": f"p{k}", "text": f"Kevin visits Paris {'again ' * (k % 7)}{k}"} for k in range(400)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Address of a cluster, of one that runs if RAY_ADDRESS names it, and the environment to join it with."""
    if "RAY_ADDRESS" in os.environ:
        yield os.environ["RAY_ADDRESS"], os.environ
        return
    folder = tmp_path_factory.mktemp("r")
    (folder / "token").write_text(secrets.token_hex(32))
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
    }  # fmt: skip
    held = [socket.socket() for _ in range(5)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    port, *others = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    names = (
        "dashboard-agent-grpc-port",
        "dashboard-agent-listen-port",
        "metrics-export-port",
        "runtime-env-agent-port",
    )
    ports = [f"--{name}={number}" for name, number in zip(names, others, strict=True)]
    home = f"/tmp/dpe{os.getpid()}"  # noqa: S108  # short: sockets lie in it
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=2"]
    command += ["--include-dashboard=false", "--object-store-memory=100000000", f"--temp-dir={home}", "--block", *ports]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 150
    while b"Ray runtime started" not in (folder / "log").read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            _end(process)
            pytest.skip("Ray does not start on this machine: " + (folder / "log").read_text()[-300:])
        time.sleep(0.5)
    yield f"127.0.0.1:{port}", environment
    _end(process)
    subprocess.run(["rm", "-rf", home], check=False)


def _end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def bulk(cluster, saved_model, tmp_path):
    """Starts a driver."""
    address, environment = cluster

    def start(posts, *more, **options):
        command = ["predict", posts, "--model", saved_model, "--engine", "ray", "--ray-address", address]
        command += ["--output", tmp_path / "out", "--batch-size", "4", *more]
        return subprocess.Popen(
            [sys.executable, "-m", "dpe_mner", *map(str, command)], env=environment, stderr=subprocess.PIPE, **options
        )

    return start


def ended(process):
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error.decode()
    return error.decode()


def once(folder, rows):
    found = [row for path in sorted(folder.glob("part-*.jsonl")) for row in lines_of(path.read_bytes())]
    assert Counter(row["id"] for row in found) == Counter(row["id"] for row in rows)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["complete"], manifest["posts"]) == (True, len(rows))
    return found


def same_as_plain(found, posts, saved_model, tmp_path):
    plain = tmp_path / "plain.jsonl"
    command = ["predict", posts, "--model", saved_model, "--output", plain, "--batch-size", "4"]
    subprocess.run([sys.executable, "-m", "dpe_mner", *map(str, command)], stderr=subprocess.DEVNULL, check=False)
    told = lines_of(plain.read_bytes())
    assert [row["id"] for row in found] == [row["id"] for row in told]
    for one, other in zip(found, told, strict=True):
        assert [e | {"score": 0} for e in one["entities"]] == [e | {"score": 0} for e in other["entities"]]
        assert [e["score"] for e in one["entities"]] == pytest.approx([e["score"] for e in other["entities"]], abs=1e-4)


def test_a_driver_and_a_worker_are_killed_and_every_post_is_answered_once(bulk, write, saved_model, tmp_path):
    posts, folder = write("posts.jsonl", jsonl(ROWS) + "{broken\n"), tmp_path / "out"
    process = bulk(posts, "--actors", "2", "--part-rows", "2")
    wait_for(folder, 3, process)
    process.kill()
    process.communicate()
    left = len(list(folder.glob("part-*")))
    assert left < 201, "it was done before it was killed"
    process = bulk(posts, "--actors", "2", "--part-rows", "2", "--resume")
    wait_for(folder, left + 10, process)
    (worker, *_) = [pid for pid, name in running() if name.startswith("ray::") and "_Actor" in name]
    os.kill(worker, signal.SIGKILL)
    told = ended(process)
    assert "1 posts could not be answered" in told
    found = once(folder, ROWS)
    same_as_plain(found, posts, saved_model, tmp_path)
    (failed,) = [row for path in (folder / "failed").iterdir() for row in lines_of(path.read_bytes())]
    assert failed["row"] == 401
    assert "not valid JSON" in failed["reason"]


def wait_for(folder, parts, process):
    deadline = time.monotonic() + 300
    while len(list(folder.glob("part-*"))) < parts:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as stream:
                yield int(pid), stream.read()
        except OSError:
            continue


def test_a_folder_of_parquet_and_csv_becomes_parquet(bulk, tmp_path):
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    folder = tmp_path / "in"
    folder.mkdir()
    table = arrow.table({"id": [r["id"] for r in ROWS[:9]], "body": [r["text"] for r in ROWS[:9]]})
    parquet.write_table(table, folder / "a.parquet")
    (folder / "b.csv").write_text("id,body\n" + "".join(f'{r["id"]},"{r["text"]}"\n' for r in ROWS[9:20]))
    process = bulk(folder, "--column", "text=body", "--part-format", "parquet", "--part-rows", "4")
    ended(process)
    found = parquet.read_table(sorted((tmp_path / "out").glob("part-*.parquet"))).to_pylist()
    assert [row["id"] for row in found] == [row["id"] for row in ROWS[:20]]
    assert [row["file"] for row in found] == ["a.parquet"] * 9 + ["b.csv"] * 11
