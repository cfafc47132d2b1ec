"""Which model a worker loads: a few plain values that travel to another process in place of the weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """What :func:`dpe_mner.load` and ``use_pictures`` are called with.

    Attributes:
        name: Folder or hub id; the bundled model when not given.
        device: As for :func:`dpe_mner.load`.
        int8: As there.
        dtype: As there.
        picture_models: Where the models lie that read pictures, by kind.
        features: Store made by ``dpe-mner extract``.
        images: Folder that image paths are relative to.
        fetch_urls: Download pictures given as URLs.
        threads: To compute with; the libraries' own choice when not given.
    """

    name: str | None = None
    device: str | None = None
    int8: bool = False
    dtype: str = "float32"
    picture_models: Mapping[str, str] = field(default_factory=dict)
    features: Path | None = None
    images: Path | None = None
    fetch_urls: bool = False
    threads: int | None = None

    def load(self) -> Any:
        """The model, ready to predict.

        Raises:
            InputError: If the checkpoint is missing, foreign or damaged, or something it takes is not installed.
        """
        if self.threads is not None:
            _keep_to(self.threads)
        import dpe_mner
        from dpe_mner.onnx.runtime import OnnxModel

        model: Any = dpe_mner.load(self.name, device=self.device, int8=self.int8, dtype=self.dtype)
        if self.threads is not None and isinstance(model, OnnxModel):  # onnxruntime reads no environment variable
            model = OnnxModel(model.folder, threads=self.threads)
        if self.picture_models or self.features is not None or self.fetch_urls:
            model.use_pictures(
                models=self.picture_models, store=self.features, images=self.images, fetch_urls=self.fetch_urls
            )
        return model


def _keep_to(threads: int) -> None:
    """Keep the libraries that this process has yet to import to so many threads.

    Processes of one machine that each take all of its cores wait for one another.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if threads == 1 else "true"
