"""Loss and F1 by epoch, and what scores say, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpe_mner.data.writing import replacing
from dpe_mner.evaluation.reliability import Reliability


def plot_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the parts of the loss and the validation F1 of a run.

    Args:
        history: One entry an epoch, with ``epoch``, ``losses`` and ``f1``.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    for name in history[0]["losses"]:
        left.plot(epochs, [entry["losses"].get(name, float("nan")) for entry in history], marker=".", label=name)
    left.set(xlabel="epoch", ylabel="training loss", yscale="log")
    left.legend(frameon=False, fontsize="small")
    scores = [entry["f1"] for entry in history]
    best = max(range(len(scores)), key=scores.__getitem__)
    right.plot(epochs, scores, marker=".", color="tab:green")
    right.annotate(
        f"{scores[best]:.2f}",
        (epochs[best], scores[best]),
        textcoords="offset points",
        xytext=(0, -14),
        ha="center",
    )
    right.set(xlabel="epoch", ylabel="validation F1")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)


def plot_reliability(found: Reliability, path: Path, *, title: str) -> None:
    """Draw how often entities of each score are right, beside how often they should be.

    Args:
        found: Entities in bins.
        path: PNG to write.
        title: Above the plot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as the score says")
    axes.plot(found.score, found.precision, marker="o", color="tab:green", label="measured")
    for score, precision, count in zip(found.score, found.precision, found.count, strict=True):
        axes.annotate(str(count), (score, precision), textcoords="offset points", xytext=(6, -10), fontsize="x-small")
    axes.set(xlabel="mean score", ylabel="share of entities that are right", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title(f"{title}\nexpected calibration error {found.error:.3f}", fontsize="medium")
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
