"""Controls of a finished run: its F1 with another post's vision, and with H_m at its mean; kept in its folder.

See :mod:`dpe_mner.evaluation.exchanged` and :mod:`dpe_mner.evaluation.mean_state`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_mner.checkpoints.saved import WEIGHTS
from dpe_mner.data.writing import write_whole
from dpe_mner.reproduce.predictions import model_of_run
from dpe_mner.training.folder import read_metrics
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import Post

if TYPE_CHECKING:
    from dpe_mner.evaluation.answers import Answers

CONTROLS = "controls.json"
SEED = 0  # of the exchange and of the starting noise, whatever the run's own seed: runs differ in nothing else


@dataclass(frozen=True)
class Controls:
    """F1 under the controls of one run, in percent.

    Attributes:
        exchanged: With the captions, tags or pictures of other posts, and ``all`` of them at once; those of which the
            data has enough.
        mean_state: With H_m at its mean and the threshold chosen again; None where no mean can be had.
    """

    exchanged: Mapping[str, float]
    mean_state: float | None


def read_controls(folder: Path) -> Controls | None:
    """The controls of a finished run; None when there are none yet, or they are of other figures than the run has now.

    Args:
        folder: Of the run.
    """
    try:
        values = json.loads((folder / CONTROLS).read_text(encoding="utf-8"))
        if values["f1_of_run"] != (read_metrics(folder) or {})["f1"]:
            return None
        mean = values["mean_state"]
        exchanged = {str(name): float(found["f1"]) for name, found in values["exchanged"].items()}
        return Controls(exchanged, None if mean is None else float(mean["f1"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def controls_lacking(folder: Path) -> bool:
    """Whether a finished run of our model has no controls yet, and the weights to compute them with."""
    metrics = read_metrics(folder)
    ours = metrics is not None and "baseline" not in metrics
    return ours and (folder / WEIGHTS).is_file() and read_controls(folder) is None


def control_run(recipe: Recipe, posts: Sequence[Post]) -> None:
    """Compute the controls of a finished run and write them beside it.

    Args:
        recipe: Of the run.
        posts: Validation posts, as the run reads them.

    Raises:
        InputError: If the checkpoint cannot be loaded.
    """
    from dpe_mner.evaluation.answers import answer_posts
    from dpe_mner.evaluation.exchanged import exchangeable, exchanged
    from dpe_mner.evaluation.mean_state import as_dict, enough_for_a_mean, mean_state_answers
    from dpe_mner.pipeline import PredictionOptions

    folder = Path(recipe.output)
    model = model_of_run(recipe)
    options = PredictionOptions(batch_size=recipe.training.eval_batch_size, seed=SEED)
    mean_state: dict[str, Any] | None = None
    if enough_for_a_mean(posts):
        found = mean_state_answers(model, posts, options)
        own = found.own
        mean_state = _against(own, found.control, name="mean-state") | as_dict(found)
    else:
        own = answer_posts(model, posts, options)
    reads = model.pictures is not None
    parts = exchangeable(own.posts, reads_pictures=reads)
    mixed = {}
    for part in [*parts, *(["all"] if parts else [])]:
        # With another picture goes what is made of it; captions and tags that are made are there only behind the model.
        given = posts if part == "pictures" else own.posts
        others = answer_posts(model, exchanged(given, part, seed=SEED, reads_pictures=reads), options)
        mixed[part] = _against(own, others, name=f"exchanged {part}")
    values = {
        "f1_of_run": (read_metrics(folder) or {}).get("f1"),  # of metrics.json: other figures ask for new controls
        "seed": SEED,
        "own": {"f1": own.report.overall.f1},
        "exchanged": mixed,
        "mean_state": mean_state,
    }
    write_whole(folder / CONTROLS, json.dumps(values, indent=2) + "\n")


def _against(own: Answers, others: Answers, *, name: str) -> dict[str, Any]:
    from dpe_mner.evaluation.compare import compare

    found = compare(own.gold, own.spans, others.spans, other=name)
    return {"f1": found.report.overall.f1, "changed": len(found.changes), "p_value": found.p_value}
