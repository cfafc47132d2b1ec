"""Score a model on validation posts and choose its decision threshold."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from dpe_mner.data.gold import gold_of_posts
from dpe_mner.evaluation.score import Labelled, Report, score
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import Predictor
from dpe_mner.training.calibrate import best_threshold
from dpe_mner.types import Post, Prediction


@dataclass(frozen=True)
class Validation:
    """Scores without and with the threshold calibrated on these very posts, and that threshold."""

    report: Report
    calibrated: Report
    threshold: float

    def figures(self) -> dict[str, float]:
        """What training records of an epoch: figures with the threshold, the threshold, and F1 without it."""
        overall = self.calibrated.overall
        return {
            "f1": overall.f1,
            "precision": overall.precision,
            "recall": overall.recall,
            "threshold": self.threshold,
            "f1_without_threshold": self.report.overall.f1,
        }


def calibrated(gold: Sequence[Set[Labelled]], predictions: Sequence[Prediction]) -> Validation:
    """Choose the threshold of anything that scores its entities; the same for our model and for baselines.

    Args:
        gold: Entities of each post, in characters.
        predictions: Made without a threshold.
    """
    rows = [
        (entity.score, (entity.start, entity.end, entity.label) in wanted)
        for wanted, prediction in zip(gold, predictions, strict=True)
        for entity in prediction.entities
    ]
    scores, correct = np.array([s for s, _ in rows]), np.array([c for _, c in rows], dtype=bool)
    threshold = best_threshold(scores, correct, sum(map(len, gold)))

    def report(kept: Sequence[Prediction]) -> Report:
        return score(gold, [[(e.start, e.end, e.label) for e in prediction.entities] for prediction in kept])

    return Validation(report(predictions), report(above(predictions, threshold)), threshold)


def above(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """Predictions with the entities that score at least a threshold.

    Args:
        predictions: Made with a lower threshold or none.
        threshold: Least score.
    """
    return [
        replace(prediction, entities=[e for e in prediction.entities if e.score >= threshold])
        for prediction in predictions
    ]


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
        return calibrated(self.gold, predictions)
