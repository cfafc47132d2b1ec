"""Text seen in a picture, by an OCR library that carries its own weights (RapidOCR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dpe_mner.pictures.weights import load_part, need
from dpe_mner.settings import OcrSettings

if TYPE_CHECKING:
    from PIL.Image import Image


class TextReader:
    """Reads text, line by line.

    Args:
        settings: Least confidence.

    Raises:
        ProviderError: If the library is missing.
    """

    def __init__(self, settings: OcrSettings) -> None:
        library = need("rapidocr", "reading text in pictures", "ocr")
        need("onnxruntime", "reading text in pictures", "ocr")
        self.settings = settings
        self.engine: Any = load_part(
            "text reader", "rapidocr", lambda: library.RapidOCR(params={"Global.log_level": "error"})
        )

    @property
    def fingerprint(self) -> str:
        """The library's version stands for the weights in its package."""
        from importlib.metadata import version

        return f"rapidocr-{version('rapidocr')}"

    def __call__(self, image: Image) -> str:
        """All lines that are read with enough confidence, from top to bottom; empty when there is none."""
        result = self.engine(np.ascontiguousarray(np.asarray(image)[..., ::-1]))
        if result.txts is None:
            return ""
        lines = [
            text.strip()
            for text, score in zip(result.txts, result.scores, strict=True)
            if score >= self.settings.threshold
        ]
        return " ".join(line for line in lines if line)
