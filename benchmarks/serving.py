"""What the REST service costs beside direct calls of the same model: requests a second, p50, p99, and its memory.

    python benchmarks/serving.py --seconds 5 --memory-requests 10000 --json serving.json

The posts are the bundled demonstration posts. Direct calls are timed in this process before the service starts in one
of its own; clients are connections of this process that each send the next request when the last is answered.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

import dpe_mner
from dpe_mner.data.demo import demo_posts
from dpe_mner.data.words import words_of
from dpe_mner.types import Post

CLIENTS = (1, 8, 64)
BATCH = 32


def percentile(seconds: list[float], share: float) -> float:
    """In milliseconds, of the times given."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)


def told(seconds: list[float], wall: float) -> dict[str, float]:
    """Figures of a run."""
    return {
        "requests": len(seconds),
        "requests_per_second": round(len(seconds) / wall, 1),
        "p50_ms": percentile(seconds, 0.5),
        "p99_ms": percentile(seconds, 0.99),
    }


def direct(model: Any, posts: list[Post], seconds: float) -> dict[str, Any]:
    """One post a call, and batches of 32 as the service makes them."""
    for post in posts:  # warms up every shape
        model.predict(post)
    single: list[float] = []
    started = time.perf_counter()
    for post in itertools.cycle(posts):
        before = time.perf_counter()
        model.predict(post)
        single.append(time.perf_counter() - before)
        if time.perf_counter() - started > seconds:
            break
    alone = told(single, time.perf_counter() - started)
    many = list(itertools.islice(itertools.cycle(posts), 2 * BATCH))
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        model.predict(many, batch_size=BATCH)
        done += len(many)
    return {"single": alone, "batched_posts_per_second": round(done / (time.perf_counter() - started), 1)}


@contextmanager
def service(backend: str) -> Iterator[tuple[str, int, int]]:
    """Host, port and process of a running service."""
    command = [sys.executable, "-m", "dpe_mner", "serve", "--port", "0", "--backend", backend]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+?(?=,)", line := process.stderr.readline())
            if found is None:
                raise SystemExit(f"the service did not start: {line}")
            parts = urlsplit(found[0])
            assert parts.hostname is not None
            assert parts.port is not None
            _wait_for(parts.hostname, parts.port)
            yield parts.hostname, parts.port, process.pid
        finally:
            process.terminate()


def _wait_for(host: str, port: int) -> None:
    for _ in range(600):
        try:
            asyncio.run(_ask_once(host, port))
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the service does not answer")


async def _ask_once(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()


def requests_of(posts: list[Post]) -> list[bytes]:
    """The posts as they go over the wire."""
    made = []
    for post in posts:
        row = {"text": words_of(post).text, "caption": post.caption, "tags": list(post.tags or ()) or None}
        body = json.dumps({name: value for name, value in row.items() if value is not None}).encode()
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        made.append(f"{head}\r\n\r\n".encode() + body)
    return made


async def load(host: str, port: int, requests: list[bytes], *, clients: int, seconds: float, most: int) -> Any:
    """Let clients ask for so long, or so many times in all."""
    taken: list[float] = []
    stop = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for request in itertools.islice(itertools.cycle(requests), number, None):
            before = time.perf_counter()
            if before > stop or len(taken) >= most:
                break
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert length is not None
            await reader.readexactly(int(length[1]))
            taken.append(time.perf_counter() - before)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return told(taken, time.perf_counter() - started)


def resident_mb(process: int) -> float | None:
    """Memory of a process, on Linux."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return None if found is None else round(int(found[1]) / 1024, 1)


def main(
    backend: Annotated[str, typer.Option(help="torch or onnx.")] = "onnx",
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 5.0,
    memory_requests: Annotated[int, typer.Option(help="Requests between two looks at the memory; 0 for none.")] = 0,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
) -> None:
    """The service against direct calls."""
    posts = [post for post in demo_posts(pictures=False) if post.text is not None]
    model = dpe_mner.load(backend="onnx") if backend == "onnx" else dpe_mner.load(backend="torch")
    found: dict[str, Any] = {"backend": backend, "direct": direct(model, posts, seconds), "clients": {}}
    del model
    requests = requests_of(posts)
    with service(backend) as (host, port, process):
        asyncio.run(load(host, port, requests, clients=8, seconds=1.0, most=10**9))  # warms up
        for clients in CLIENTS:
            figures = asyncio.run(load(host, port, requests, clients=clients, seconds=seconds, most=10**9))
            found["clients"][str(clients)] = figures
        if memory_requests:
            found["memory_mb"] = [resident_mb(process)]
            for _ in range(2):
                asyncio.run(load(host, port, requests, clients=64, seconds=3600, most=memory_requests // 2))
                found["memory_mb"].append(resident_mb(process))
    of_batched = found["clients"]["64"]["requests_per_second"] / found["direct"]["batched_posts_per_second"]
    of_single = found["clients"]["1"]["p99_ms"] / found["direct"]["single"]["p99_ms"]
    found |= {"throughput_of_batched": round(of_batched, 3), "p99_of_direct": round(of_single, 3)}
    typer.echo(json.dumps(found, indent=2))
    if json_ is not None:
        json_.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
