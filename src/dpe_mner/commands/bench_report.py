"""What ``dpe-mner bench`` shows on the terminal: a table or a few lines of each part that was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_ROWS = {
    "encoder": "bare encoder, posts only",
    "encoder_all": "bare encoder, captions and tags too",
    "encoder_transformers": "bare encoder by transformers, posts only",
    "encoder_without_captions": "bare encoder, batches of posts alone",
    "without_captions": "predict, posts alone",
}


def show(result: Mapping[str, Any]) -> None:
    """Print the figures of the parts that are in a result."""
    from rich.console import Console

    console = Console()
    console.print(f"{result['posts']} posts, {result['device']}, {result['dtype']}", highlight=False)
    for key, report in _REPORTS.items():
        if key in result:
            for line in report(result):
                console.print(line, highlight=False)


def _cold_start(result: Mapping[str, Any]) -> list[RenderableType]:
    from rich.table import Table

    table = Table(title="seconds from a fresh interpreter to the first answer", title_justify="left")
    ways = result["cold_start_s"]
    table.add_column("step")
    for way in ways:
        table.add_column(way, justify="right")
    for step in dict.fromkeys(step for times in ways.values() for step in times if step != "together"):
        table.add_row(step.replace("_", " "), *(_seconds(times.get(step)) for times in ways.values()))
    table.add_row("together", *(_seconds(times["together"]) for times in ways.values()), style="bold")
    return [table]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _prediction(result: Mapping[str, Any]) -> list[RenderableType]:
    from rich.table import Table

    table = Table()
    table.add_column("what")
    table.add_column("posts/s", justify="right")
    table.add_column("time, encoder = 1", justify="right")
    for name, rate in result["posts_per_second"].items():
        shown = _ROWS.get(name, f"predict, {name.replace('_', ' ')}")
        style = "bold" if name == "default" else None
        table.add_row(shown, f"{rate:.0f}", f"{result['ratios'][name]:.2f}", style=style)
    lines: list[RenderableType] = [table]
    if "ratio_to_encoder_without_captions" in result:
        ratio = result["ratio_to_encoder_without_captions"]
        lines.append(f"posts alone, in times of the encoder over their batches: {ratio:.2f}")
    return [*lines, f"peak memory predicting: {result['peak_memory_mb']:.0f} MB"]


def _latency(result: Mapping[str, Any]) -> list[RenderableType]:
    latency = result["latency_ms"]
    return [f"one post alone: {latency['p50']:.1f} ms (median), {latency['p99']:.1f} ms (99th percentile)"]


def _scaling(result: Mapping[str, Any]) -> list[RenderableType]:
    from rich.table import Table

    table = Table(title="milliseconds a call, as one size grows", title_justify="left")
    table.add_column("what grows")
    table.add_column("size: time")
    for axis, times in result["scaling_ms"].items():
        table.add_row(axis.replace("_", " "), "   ".join(f"{size}: {ms:.0f}" for size, ms in times.items()))
    return [table]


def _phases(result: Mapping[str, Any]) -> list[RenderableType]:
    phases = result["phases"]
    return [
        _share_table(f"where {phases['seconds']:.2f} s of prediction go", phases["parts"]),
        _share_table("inside prepare and spans", phases["inside"]),
    ]


def _share_table(title: str, shares: Mapping[str, float]) -> Table:
    from rich.table import Table

    table = Table("part", "share", title=title, title_justify="left")
    for name, share in shares.items():
        table.add_row(name.replace("_", " "), f"{share:.1f} %")
    return table


def _int8(result: Mapping[str, Any]) -> list[RenderableType]:
    found = result["int8"]
    scores = _scores(found.get("f1"))
    return [
        f"int8: {found['ratio_to_float32']:.2f} times the time of float32{scores}; {found['differ_alone']} of "
        f"{found['compared']} posts get other entities alone than in a batch"
    ]


def _paper_setting(result: Mapping[str, Any]) -> list[RenderableType]:
    found = result["paper_setting"]
    scores = _scores(found.get("f1"), " without a threshold") + _scores(found.get("f1_calibrated"), " with its own")
    return [f"the paper's setting takes {found['ratio_to_default']:.1f} times as long as the default{scores}"]


def _scores(f1: Mapping[str, float] | None, how: str = "") -> str:
    return "" if f1 is None else f"; F1{how} " + ", ".join(f"{name} {value:.2f}" for name, value in f1.items())


def _pictures(result: Mapping[str, Any]) -> list[RenderableType]:
    found = result["pictures"]
    sizes = ", ".join(f"{kind} {size:.1f} KB" for kind, size in found["kilobytes_a_picture"].items())
    lines: list[RenderableType] = [
        f"extract: {found['ratio_to_bare_models']:.2f} times the bare models, {found['pictures_per_second']:.1f} "
        f"pictures/s; peak memory after half of {found['count']} pictures {found['peak_memory_mb']['half']:.0f} MB, "
        f"after all {found['peak_memory_mb']['all']:.0f} MB",
        f"a picture takes: {sizes}; half precision, mean relative error of y_c: {found['half_precision_error']:.1e}",
    ]
    if "one_post" in found:
        one = found["one_post"]
        lines.append(
            f"one post with its picture: {one['median_ms']:.0f} ms (median of {one['posts']}), "
            f"{one['ratio_to_bare_models']:.2f} times the bare models and text encoder"
        )
    return lines


def _memory(result: Mapping[str, Any]) -> list[RenderableType]:
    found = result["memory"]
    return [
        f"peak memory in a process of its own: model loaded {found['idle_mb']:.0f} MB, predicting "
        f"{found['prediction_mb']:.0f} MB, training the longest posts at batch {found['training_batch']} and "
        f"{found['training_spans']} spans {found['training_mb']:.0f} MB"
    ]


def _training(result: Mapping[str, Any]) -> list[RenderableType]:
    ratios = result["train_ratios"]
    return [
        f"training step, batch 32, in times of the encoder's forward and backward: {ratios['one_pass']:.2f} with "
        f"60 spans and one pass, {ratios['step']:.2f} with 60 spans and the model's own passes "
        f"({result['train_posts_per_second']:.0f} posts/s), {ratios['own']:.2f} with its own spans and passes",
        f"peak memory, training too: {result['train_peak_memory_mb']:.0f} MB",
    ]


_REPORTS: dict[str, Callable[[Mapping[str, Any]], list[RenderableType]]] = {  # by a key that only this part gives
    "cold_start_s": _cold_start,
    "ratios": _prediction,
    "latency_ms": _latency,
    "scaling_ms": _scaling,
    "phases": _phases,
    "int8": _int8,
    "paper_setting": _paper_setting,
    "pictures": _pictures,
    "memory": _memory,
    "train_ratios": _training,
}
