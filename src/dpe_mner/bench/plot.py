"""The scaling table as a log-log plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dpe_mner.errors import InputError


def plot_scaling(table: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw one line an axis: milliseconds of a call over the size that grows.

    Raises:
        InputError: If matplotlib is missing or the file cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise InputError("--plot needs matplotlib; pip install 'dpe-mner[train]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import ScalarFormatter

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, times in table.items():
        sizes = [int(size) for size in times]
        axes.plot(sizes, list(times.values()), marker="o", label=name.replace("_", " "))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set(xlabel="size of what grows (the others stay)", ylabel="milliseconds a call")
    axes.grid(alpha=0.3)
    axes.legend(title="what grows")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        pyplot.close(figure)
