"""Score a model on validation posts and choose its decision threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpe_mner.data.gold import gold_of_posts
from dpe_mner.evaluation.score import Report, score
from dpe_mner.model import DPEMNERModel
from dpe_mner.predictor import PredictionOptions, Predictor
from dpe_mner.training.calibrate import best_threshold
from dpe_mner.types import Post


@dataclass(frozen=True)
class Validation:
    """Scores without and with the threshold calibrated on these very posts, and that threshold."""

    report: Report
    calibrated: Report
    threshold: float


class Validator:
    """Predict labelled posts and compare.

    Args:
        posts: Labelled posts.
        batch_size: Posts computed together.
    """

    def __init__(self, posts: list[Post], *, batch_size: int = 64) -> None:
        self.posts = posts
        self.batch_size = batch_size
        self.gold = gold_of_posts(posts)

    def __call__(
        self, model: DPEMNERModel, *, steps: int | None = None, spans: int | None = None, seed: int = 0
    ) -> Validation:
        """Validate at the given steps, spans and seed, the model's own when not given."""
        assert model.pieces is not None
        options = PredictionOptions(steps=steps, spans=spans, seed=seed, batch_size=self.batch_size, threshold=0.0)
        was_training = model.training
        model.eval()
        predictions = list(Predictor(model, model.pieces, model.pictures)(self.posts, options))
        model.train(was_training)
        found = [[(e.start, e.end, e.label, e.score) for e in p.entities] for p in predictions]
        rows = [
            (s, (a, b, c) in gold) for entities, gold in zip(found, self.gold, strict=True) for a, b, c, s in entities
        ]
        scores, correct = np.array([s for s, _ in rows]), np.array([c for _, c in rows], dtype=bool)
        threshold = best_threshold(scores, correct, sum(map(len, self.gold)))

        def report(least: float) -> Report:
            return score(self.gold, [[(a, b, c) for a, b, c, s in entities if s >= least] for entities in found])

        return Validation(report(0.0), report(threshold), threshold)
