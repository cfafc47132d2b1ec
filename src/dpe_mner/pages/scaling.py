"""The scaling table as a log-log plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dpe_mner.pages.figures import require_matplotlib, save_figure


def plot_scaling(table: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw one line an axis: milliseconds of a call over the size that grows.

    Raises:
        InputError: If matplotlib is missing or the file cannot be written.
    """
    figure = require_matplotlib()(figsize=(7, 4.5), layout="constrained")
    from matplotlib.ticker import StrMethodFormatter

    axes = figure.subplots()
    for name, times in table.items():
        sizes = [int(size) for size in times]
        axes.plot(sizes, list(times.values()), marker="o", label=name.replace("_", " "))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel="size of what grows (the others stay)", ylabel="milliseconds a call")
    axes.grid(alpha=0.3)
    axes.legend(title="what grows")
    save_figure(figure, path)
