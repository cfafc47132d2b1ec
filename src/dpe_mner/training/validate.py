"""Score a model on validation posts while it trains."""

from __future__ import annotations

from collections.abc import Sequence

from dpe_mner.data.gold import gold_of_posts
from dpe_mner.evaluation.calibration import Validation, calibrated
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import Predictor
from dpe_mner.types import Post


class Validator:
    """Predict labelled posts and compare.

    Args:
        posts: Labelled posts.
        batch_size: Posts computed together.
        sources: Where each post comes from, when several sources count alike.
    """

    def __init__(self, posts: list[Post], *, batch_size: int = 64, sources: Sequence[str] | None = None) -> None:
        self.posts = posts
        self.batch_size = batch_size
        self.sources = sources
        self.gold = gold_of_posts(posts)

    def __call__(
        self, model: DPEMNERModel, *, steps: int | None = None, spans: int | None = None, seed: int = 0
    ) -> Validation:
        """Validate at the given steps, spans and seed, the model's own when not given."""
        assert model.tokenizer is not None
        options = PredictionOptions(steps=steps, spans=spans, seed=seed, batch_size=self.batch_size, threshold=0.0)
        was_training = model.training
        model.eval()
        predictions = list(Predictor(model, model.tokenizer, model.pictures)(self.posts, options))
        model.train(was_training)
        return calibrated(self.gold, predictions, self.sources)
