"""What Ray costs: posts a second of two actors beside two processes that share nothing, in one run.

    python benchmarks/bulk.py --posts 40000 --json bulk.json

The posts are the bundled demonstration posts over and over, half of them for each process. Both sides are timed whole,
with their start and the loading of models, and once more from the first answers that are on the disk, which is what a
long run comes to. Sides take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from dpe_mner.data.dataset import read_posts
from dpe_mner.data.demo import demo_posts
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.scale.loading import ModelChoice

_PART_ROWS = 512
_ANSWER = "answer"  # in place of options: be one of the two processes
_LOOK = 0.05  # seconds between two looks at the output


def write_posts(path: Path, count: int) -> None:
    """Posts as JSON Lines."""
    texts = [post.text if post.text is not None else " ".join(post.words or ()) for post in demo_posts()]
    with path.open("w", encoding="utf-8") as stream:
        for k in range(count):
            stream.write(json.dumps({"id": str(k), "text": texts[k % len(texts)]}) + "\n")


def lines_in(files: list[Path]) -> int:
    """Finished lines."""
    return sum(path.read_bytes().count(b"\n") for path in files if path.exists())


def answer(source: str, target: str) -> None:
    """What each of the two processes does: a model with one thread, a part after the other."""
    model = ModelChoice(threads=1).load()
    posts = read_posts(source, [])
    with open(target, "w", encoding="utf-8") as stream:
        while part := list(islice(posts, _PART_ROWS)):
            for prediction in model.predictions(part, PredictionOptions()):
                stream.write(json.dumps(prediction.as_dict()) + "\n")
            stream.flush()


def timed(commands: list[list[str]], output: Path, pattern: str, count: int) -> dict[str, float]:
    """Run commands side by side; posts a second, whole and from the first answers on."""
    started = time.perf_counter()
    processes = [subprocess.Popen([sys.executable, *command]) for command in commands]
    first: tuple[float, int] | None = None
    while any(process.poll() is None for process in processes):
        if first is None and (there := lines_in(list(output.glob(pattern)))):
            first = time.perf_counter(), there
        time.sleep(_LOOK)
    ended = time.perf_counter()
    if any(process.returncode for process in processes):
        raise SystemExit("a command failed")
    steady = (count - first[1]) / (ended - first[0]) if first and count > first[1] else 0.0
    return {"posts_per_second": round(count / (ended - started), 1), "steady_posts_per_second": round(steady, 1)}


def ray_side(posts: Path, folder: Path, count: int, address: str | None) -> dict[str, float]:
    """Two actors."""
    output = folder / "ray"
    command = [
        "-m",
        "dpe_mner",
        "predict",
        str(posts),
        "--engine",
        "ray",
        "--actors",
        "2",
        "--part-rows",
        str(_PART_ROWS),
        "--quiet",
    ]
    command += ["--output", str(output)] + (["--ray-address", address] if address else [])
    return timed([command], output, "part-*.jsonl", count)


def plain_side(posts: Path, folder: Path, count: int) -> dict[str, float]:
    """Two processes with a thread each, half of the posts for each."""
    output = folder / "plain"
    output.mkdir()
    lines = posts.read_text(encoding="utf-8").splitlines(keepends=True)
    commands = []
    for k, half in enumerate((lines[: count // 2], lines[count // 2 :])):
        part = output / f"in{k}.jsonl"
        part.write_text("".join(half), encoding="utf-8")
        commands.append([__file__, _ANSWER, str(part), str(output / f"out{k}")])
    return timed(commands, output, "out*", count)


def main(
    posts: Annotated[int, typer.Option(help="Posts of a side.")] = 40_000,
    runs: Annotated[int, typer.Option(help="Of each side.")] = 3,
    ray_address: Annotated[str | None, typer.Option(help="Of a cluster that runs; one is started if absent.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
) -> None:
    """Measure and print."""
    found: list[dict[str, Any]] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_posts(folder / "posts.jsonl", posts)
            ray = ray_side(folder / "posts.jsonl", folder, posts, ray_address)
            plain = plain_side(folder / "posts.jsonl", folder, posts)
        found.append({"ray": ray, "two_processes": plain} | {f"ratio_{key}": ray[key] / plain[key] for key in ray})
        print(json.dumps(found[-1]))
    if json_ is not None:
        json_.write_text(json.dumps({"posts": posts, "runs": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    answer(*sys.argv[2:]) if sys.argv[1:2] == [_ANSWER] else typer.run(main)
