"""A trained system as users call any model: ``dpe_mner.load("runs/umt").predict(...)``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dpe_mner.baselines.build import BuiltBaseline
from dpe_mner.baselines.checkpoint import load_baseline
from dpe_mner.baselines.predict import stream_posts
from dpe_mner.data.conventions import convention_number
from dpe_mner.errors import InputError
from dpe_mner.pictures.source import PictureSource, picture_source
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.settings import Convention
from dpe_mner.types import Post, Prediction


class BaselineModel(Predicts):
    """A system of Table 1, loaded.

    Args:
        folder: Output of its training.
        device: ``cpu`` (default), ``cuda``, ...
        picture_models: Where the models lie that read pictures, by kind; the names it remembers when not given.

    Raises:
        InputError: If the folder holds no such system.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        device: str | None = None,
        picture_models: Mapping[str, str] | None = None,
    ) -> None:
        self.built: BuiltBaseline = load_baseline(folder)
        self.built.model.to(device or "cpu")
        self.device = device or "cpu"
        self.pictures: PictureSource | None = None
        self.use_pictures(models=picture_models)

    def use_pictures(self, **where: Any) -> None:
        """Say where pictures' parts come from, with the arguments of :meth:`dpe_mner.DPEMNERModel.use_pictures`.

        Raises:
            InputError: If a name or the store is wrong.
        """
        self.pictures = picture_source(self.built.description.pictures, device=self.device, **where)

    @property
    def labels(self) -> list[str]:
        """Entity types, in the order of the classes 1 .. C-1."""
        return list(self.built.description.labels)

    @property
    def annotation_conventions(self) -> list[Convention]:
        """None: a system of Table 1 is trained on one corpus."""
        return []

    @property
    def usual(self) -> tuple[int, int]:
        """One step without spans to start from: there is no reasoning to take steps in."""
        return 1, 0

    def predictions(self, posts: Iterable[Post], options: PredictionOptions) -> Iterator[Prediction]:
        """Predictions in input order.

        Raises:
            InputError: If the options ask for what only DPE-MNER has.
        """
        name = self.built.description.kind
        for option, given in (
            ("explain", options.explain),
            ("steps", options.steps not in (None, 1)),
            ("spans", options.spans is not None),
        ):
            if given:
                raise InputError(f"{option}: {name} does not reason in steps over spans; only a DPE-MNER model does")
        convention_number(options.convention, self.conventions)
        return stream_posts(
            self.built, posts, batch_size=options.batch_size, threshold=options.threshold, pictures=self.pictures
        )
