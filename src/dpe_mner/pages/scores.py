"""F1 by reasoning step and by type as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dpe_mner.pages.figures import require_matplotlib, save_figure

if TYPE_CHECKING:
    from dpe_mner.evaluation.score import Report

STEPS = (1, 2, 3, 5)  # drawn besides the checkpoint's own number
_LEAST_RANGE = 2.0  # F1 points the axis spans at least, so that noise does not look like a trend
ENDINGS = (".png", ".svg", ".pdf")


def plot_scores(by_steps: Mapping[int, Report], *, steps: int, title: str, path: Path) -> None:
    """Draw F1 over the number of reasoning steps, and F1 of each type at one number.

    Args:
        by_steps: A report for each number of steps.
        steps: The number to draw the types at; among ``by_steps``.
        title: Above both.
        path: What to write; its ending chooses the format, one of :data:`ENDINGS`.

    Raises:
        InputError: If matplotlib is missing or the file cannot be written.
    """
    figure = require_matplotlib()(figsize=(9.5, 3.8), layout="constrained")
    figure.suptitle(_plain(title), fontsize="medium")
    left, right = figure.subplots(1, 2)
    numbers = sorted(by_steps)
    scores = [by_steps[number].overall.f1 for number in numbers]
    left.plot(range(len(numbers)), scores, marker="o", color="tab:blue")
    for k, (number, value) in enumerate(zip(numbers, scores, strict=True)):
        weight = "bold" if number == steps else "normal"
        left.annotate(
            f"{value:.2f}",
            (k, value),
            textcoords="offset points",
            xytext=(0, 8),
            ha="center",
            weight=weight,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )
    left.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    left.set(xlabel="reasoning steps", ylabel="F1")
    left.margins(x=0.12)
    middle, reach = (min(scores) + max(scores)) / 2, max(max(scores) - min(scores), _LEAST_RANGE) * 0.7
    left.set_ylim(middle - reach, middle + reach)
    per_type = by_steps[steps].per_type
    rows = sorted(per_type, key=lambda label: per_type[label].support)
    values = [per_type[label].f1 for label in rows]
    bars = right.barh(range(len(rows)), values, color="tab:green", alpha=0.75)
    right.bar_label(bars, [f"{value:.2f}" for value in values], padding=3)
    right.set_yticks(range(len(rows)), [f"{_plain(label)} ({per_type[label].support})" for label in rows])
    right.set(xlabel=f"F1 by type (gold entities), {steps} reasoning step{'s' * (steps != 1)}", xlim=(0, 112))
    right.set_xticks(range(0, 101, 20))
    left.grid(alpha=0.3)
    right.grid(alpha=0.3, axis="x")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _plain(text: str) -> str:
    """Dollar signs would start a formula."""
    return text.replace("$", r"\$")
