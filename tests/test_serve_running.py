"""The service on a real socket: stopping, clients that are slow, cancel or send too much, and the command."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi")
import httpx2 as httpx
from helpers import assert_refused, run
from serving import Capitals, served

from dpe_mner.errors import InputError
from dpe_mner.web.limits import Limits
from dpe_mner.web.running import bind, is_loopback

JSON = "application/json"
CLIENT = httpx.Client(timeout=30)  # making one takes long


def place(address):
    parts = urlsplit(address)
    return parts.hostname, parts.port


def works(address):
    found = CLIENT.post(f"{address}/v1/predict", json={"text": "Kevin runs"})
    return [entity["text"] for entity in found.json()["entities"]] == ["Kevin"]


def metrics(address):
    return CLIENT.get(f"{address}/metrics").text


def wait_for(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def test_concurrent_requests_share_batches_and_get_their_own_answers():
    model = Capitals(seconds=0.02)
    with served(model) as address:

        def ask(k):
            return CLIENT.post(f"{address}/v1/predict", json={"id": str(k), "text": f"Name{k} runs"}).json()

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(ask, range(96)))
    assert [answer["id"] for answer in found] == [str(k) for k in range(96)]
    assert [answer["entities"][0]["text"] for answer in found] == [f"Name{k}" for k in range(96)]
    assert sum(map(len, model.batches)) == 96
    assert len(model.batches) < 48
    assert len(model.threads) == 1


def test_fifty_megabytes_are_refused_and_the_next_request_works():
    with served(Capitals()) as address:
        image = {"image": ("x.jpg", bytes(50 * 2**20))}
        found = CLIENT.post(f"{address}/v1/predict", data={"text": "Kevin"}, files=image)
        assert found.status_code == 413
        assert found.json()["error"]["code"] == "too_large"
        assert works(address)


def test_who_asks_before_sending_is_answered_at_once():
    with served(Capitals(), Limits(body_bytes=1000)) as address, socket.create_connection(place(address)) as raw:
        head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\nExpect: 100-continue\r\n\r\n"
        raw.settimeout(10)
        raw.sendall(head.encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_request_that_is_cancelled_half_way_is_not_computed():
    model = Capitals(gate=threading.Event())
    with served(model) as address:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(works, address)
            assert model.begun.wait(10)
            with socket.create_connection(place(address)) as raw:
                body = json.dumps({"text": "Gone Away"})
                head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}"
                raw.sendall(f"{head}\r\n\r\n{body}".encode())
                wait_for(lambda: "dpe_mner_waiting_posts 1.0" in metrics(address))
            wait_for(lambda: 'dpe_mner_requests_total{path="/v1/predict",status="499"} 1.0' in metrics(address))
            with socket.create_connection(place(address)) as raw:  # and one that leaves in the middle of its body
                raw.sendall(f"{head}\r\n\r\n{body[:5]}".encode())
            model.gate.set()
        assert first.result()
        assert works(address)
        assert "dpe_mner_dropped_total 1.0" in metrics(address)
    assert "Gone Away" not in [post.text for batch in model.batches for post in batch]


def test_five_hundred_slow_clients_do_not_stop_the_others():
    with served(Capitals(), Limits(header_seconds=1.0, body_seconds=1.0)) as address:
        silent, halfway = [], []
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        for k in range(500):
            raw = socket.create_connection(place(address))
            raw.settimeout(20)
            raw.sendall(head if k % 2 else head[:20])
            (halfway if k % 2 else silent).append(raw)
        started = time.monotonic()
        assert works(address)
        assert time.monotonic() - started < 5
        assert all(raw.recv(1000).startswith(b"HTTP/1.1 408") for raw in halfway)
        assert all(raw.recv(1000) == b"" for raw in silent)
        for raw in (*silent, *halfway):
            raw.close()
        assert works(address)


def test_bodies_together_have_a_limit():
    limits = Limits(body_bytes=10_000, held_bytes=10_000)
    with served(Capitals(), limits) as address, socket.create_connection(place(address)) as raw:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n"
        raw.sendall(head + b" " * 8000)
        wait_for(lambda: "dpe_mner_held_bytes 8000.0" in metrics(address))
        refused = CLIENT.post(f"{address}/v1/predict", json={"text": "a" * 3000})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        raw.close()
        wait_for(lambda: "dpe_mner_held_bytes 0.0" in metrics(address))
        assert works(address)


def test_a_full_queue_is_told_and_passes():
    model = Capitals(gate=threading.Event())
    with served(model, Limits(queue=2, posts=2, batch=1)) as address, ThreadPoolExecutor(3) as pool:
        first = pool.submit(works, address)
        assert model.begun.wait(10)
        rest = [pool.submit(works, address) for _ in range(2)]
        wait_for(lambda: CLIENT.get(f"{address}/health").json()["waiting"] == 2)
        refused = CLIENT.post(f"{address}/v1/predict", json={"text": "Kevin"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
        model.gate.set()
        assert all(future.result() for future in (first, *rest))
        assert works(address)


def test_what_is_no_http_is_answered_and_forgotten():
    with served(Capitals()) as address:
        for rubbish in (b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"A" * 100_000 + b"\r\n\r\n"):
            with socket.create_connection(place(address)) as raw:
                raw.settimeout(10)
                raw.sendall(rubbish)
                assert raw.recv(1000).startswith(b"HTTP/1.1 400")
        assert works(address)


def test_a_place_that_cannot_be_had_is_told():
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(InputError, match=r"--port .*cannot be had"):
            bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match="from 1 to 65535"):
        bind("127.0.0.1", 70_000)
    with pytest.raises(InputError, match="cannot be had"):
        bind("no such host", 0)
    assert is_loopback("127.0.0.1")
    assert not any(map(is_loopback, ("0.0.0.0", "::", "::1234", "localhost.example")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "tensorflow"], ["--backend tensorflow", "auto, torch, onnx"]),
        (["--backend", "onnx", "--device", "cuda", "--port", "0"], ["--device", "--backend torch"]),
        (["--token-env", "NO_SUCH_VARIABLE"], ["NO_SUCH_VARIABLE", "not set"]),
        (["--port", "70000"], ["--port 70000", "from 1 to 65535"]),
        (["--max-batch", "0", "--port", "0"], ["batch", "above 0"]),
        (["--picture-model", "grid"], ["KIND=NAME"]),
    ],
)
def test_wrong_usage_of_the_command_is_one_line(arguments, words):
    assert assert_refused(run("serve", *arguments), *words).count("\n") == 1


def test_the_command_serves_with_a_token_and_stops_in_good_order(tmp_path):
    environment = os.environ | {"SECRET": "abc"}
    command = [
        sys.executable,
        "-m",
        "dpe_mner",
        "serve",
        "--port",
        "0",
        "--backend",
        "onnx",
        "--token-env",
        "SECRET",
        "--max-batch",
        "4",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        try:
            line = process.stderr.readline()
            address = re.search(r"http://\S+?(?=,)", line)[0]
            good = {"Authorization": "Bearer abc"}
            wait_for(lambda: _answers(address), seconds=30)
            assert CLIENT.post(f"{address}/v1/predict", json={"text": "x"}).status_code == 401
            found: list[httpx.Response] = []
            posts = {"posts": [{"text": "Kevin Durant enters Oracle Arena " * 4} for _ in range(60)]}

            def ask():
                found.append(CLIENT.post(f"{address}/v1/predict/batch", json=posts, headers=good))

            asking = threading.Thread(target=ask)
            asking.start()
            wait_for(lambda: CLIENT.get(f"{address}/health").json()["waiting"] > 10)
            process.send_signal(signal.SIGTERM)
            asking.join(timeout=60)
            assert process.wait(timeout=30) == 0
            assert len(found[0].json()["predictions"]) == 60
            assert found[0].json()["predictions"][59]["entities"][0]["text"] == "Kevin Durant"
            rest = process.stderr.read()
            assert "stopped" in rest
            assert "Traceback" not in rest
        finally:
            process.kill()


def _answers(address):
    try:
        return CLIENT.get(f"{address}/health").status_code == 200
    except httpx.TransportError:
        return False
