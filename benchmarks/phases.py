"""Where the time of a prediction goes: seconds in each part, parts inside others counted in both."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

import dpe_mner
from dpe_mner import predictor
from dpe_mner.data.dataset import load_dataset


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text).posts
    model = dpe_mner.load(arguments.model)
    seconds: dict[str, float] = defaultdict(float)

    def watch(owner: Any, name: str, label: str) -> None:
        work: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = work(*args, **kwargs)
            seconds[label] += time.perf_counter() - started
            return result

        setattr(owner, name, timed)

    watch(model, "encode", "encoder, posts and captions")
    watch(model.text_encoder, "forward", "  of that, posts")
    watch(model.network, "prepare", "what no span changes (prepare)")
    watch(model.network, "forward", "span branch and top layer, all steps")
    for i, name in (("t", "token"), ("g", "sentence"), ("s", "span")):
        watch(model.network.text_level(i), "forward", f"  fusion, {name} level")  # type: ignore[arg-type]
    watch(model.network.top, "forward", "  top layer")
    watch(model.network.span_aggregator, "forward", "  SpanAggr")
    watch(model.network.heads, "forward", "  heads")
    watch(predictor, "decode_trace", "decoding")
    watch(model.tokenizer, "windows", "tokenizing")
    watch(predictor, "collate_windows", "batching")
    for _ in range(2):  # the first round warms up
        seconds.clear()
        started = time.perf_counter()
        model.predict(posts, batch_size=64)
        total = time.perf_counter() - started
    print(f"{len(posts)} posts, {arguments.threads} threads: {total:.2f} s")
    for name, spent in seconds.items():
        print(f"{name:40} {spent:6.2f} s  {100 * spent / total:5.1f} %")


if __name__ == "__main__":
    main()
