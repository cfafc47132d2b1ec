"""Seconds from a fresh interpreter to the first answer, part by part: libraries, loading, first post; and by ONNX."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

POST = "Kevin Durant enters Oracle Arena"
PYTORCH = """
part("import torch", lambda: __import__("torch"))
part("import dpe_mner's", lambda: __import__("dpe_mner.checkpoints.loading"))
model = part("load", lambda: __import__("dpe_mner").load(*arguments))
part("first post", lambda: model.predict(post))
"""
TRANSFORMERS = """
part("import torch", lambda: __import__("torch"))
part("import BertModel", lambda: __import__("transformers.models.bert.modeling_bert"))
"""
ONNX = """
part("import dpe_mner.onnx.runtime", lambda: __import__("dpe_mner.onnx.runtime"))
model = part("load", lambda: __import__("sys").modules["dpe_mner.onnx.runtime"].OnnxModel(*arguments))
part("first post", lambda: model.predict(post))
"""
FRAME = """
import json, sys, time
*arguments, post = sys.argv[1:]
times = {}
def part(name, do):
    started = time.perf_counter()
    result = do()
    times[name] = time.perf_counter() - started
    return result
%s
print(json.dumps(times))
"""


def measure(parts: str, arguments: list[str], rounds: int) -> dict[str, float]:
    """Median seconds of each part over fresh interpreters."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        command = [sys.executable, "-W", "ignore", "-c", FRAME % parts, *arguments, POST]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        for name, seconds in json.loads(run.stdout).items():
            found.setdefault(name, []).append(seconds)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="the bundled one if absent")
    parser.add_argument("--onnx", help="folder that dpe-mner export wrote")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ways = [("PyTorch", PYTORCH, [arguments.model] if arguments.model else [])]
    ways.append(("for comparison", TRANSFORMERS, []))
    if arguments.onnx:
        ways.append(("ONNX", ONNX, [arguments.onnx]))
    for name, parts, given in ways:
        times = measure(parts, given, arguments.rounds)
        for part, seconds in times.items():
            print(f"{name:15} {part:32} {seconds:5.2f} s")
        print(f"{name:15} {'together':32} {sum(times.values()):5.2f} s")


if __name__ == "__main__":
    main()
