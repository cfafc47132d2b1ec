"""Training a baseline as our model is trained: same batches, optimiser, schedule and choice of the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dpe_mner.baselines.build import BuiltBaseline
from dpe_mner.baselines.checkpoint import save_threshold, save_weights
from dpe_mner.baselines.predict import validate_baseline
from dpe_mner.errors import InputError
from dpe_mner.pictures.source import PictureSource
from dpe_mner.representations.bert import BertEncoder
from dpe_mner.representations.text import TextEncoder
from dpe_mner.training.examples import Example, ExampleCollator
from dpe_mner.training.recipe import TrainingSettings
from dpe_mner.training.sources import Log
from dpe_mner.training.trainer import EpochTrainer, set_dropout
from dpe_mner.types import Post


class BaselineTrainer(EpochTrainer):
    """Trains a baseline; weights and threshold of the best epoch so far are in its folder.

    Args:
        baseline: Model and tokenizer.
        examples: Training windows.
        posts: Validation posts.
        training: The recipe's training section.
        output: Folder of the run.
        log: Receives a line an epoch.
        progress: Show progress bars.
        pictures: With the store that holds the features of the examples' pictures; None: it reads none.
    """

    def __init__(
        self,
        *,
        baseline: BuiltBaseline,
        examples: list[Example],
        posts: Sequence[Post],
        training: TrainingSettings,
        output: Path,
        log: Log,
        progress: bool = False,
        pictures: PictureSource | None = None,
    ) -> None:
        self.baseline = baseline
        self.posts = posts
        self.pictures = pictures
        settings = baseline.description.settings
        text_encoder = getattr(baseline.model, "text_encoder", None)
        self.head_rate = settings.bilstm.learning_rate if text_encoder is None else training.learning_rate
        self.crf_rate = settings.crf.learning_rate
        if isinstance(text_encoder, TextEncoder):
            if training.encoder_dropout is not None:
                set_dropout(text_encoder.encoder, training.encoder_dropout)
            if training.gradient_checkpointing:
                if isinstance(text_encoder.encoder, BertEncoder):
                    kind = baseline.description.kind
                    raise InputError(f"training.gradient_checkpointing: {kind} cannot do it; leave it out")
                text_encoder.encoder.gradient_checkpointing_enable()
        super().__init__(
            model=baseline.model,
            examples=examples,
            collator=ExampleCollator(
                pad_id=baseline.tokenizer.pad_id, store=pictures.store if pictures is not None else None
            ),
            mask_id=getattr(baseline.tokenizer.pretrained, "mask_token_id", None),
            training=training,
            output=output,
            log=log,
            progress=progress,
        )

    def learning_rate(self, name: str) -> tuple[str, float]:
        """Group of a parameter, and that group's learning rate."""
        if ".transitions." in name:
            return "crf", self.crf_rate
        group, rate = super().learning_rate(name)
        return (group, rate) if group == "encoder" else (group, self.head_rate)

    def validate(self) -> dict[str, float]:
        """Figures with the threshold calibrated on these posts, and F1 without it."""
        size = self.recipe.eval_batch_size
        return validate_baseline(self.baseline, self.posts, batch_size=size, pictures=self.pictures).figures()

    def keep(self, figures: Mapping[str, float]) -> None:
        """Write the weights and their threshold."""
        save_weights(self.model, self.output, half=self.recipe.half_precision_weights)
        save_threshold(self.baseline.description, self.output, figures["threshold"])
