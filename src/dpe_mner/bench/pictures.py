"""Part ``pictures``: extraction, and prediction from raw pictures, against the bare model calls on the same pixels.

Bare calls are the backbone on preprocessed whole pictures and crops and the detector on ready input, nothing else: no
decoding, no resizing, no post-processing, no writing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dpe_mner.bench.memory import peak_process_memory
from dpe_mner.bench.subject import Subject
from dpe_mner.bench.workload import batches_of
from dpe_mner.errors import InputError
from dpe_mner.pictures.backbone import Backbone
from dpe_mner.pictures.detectors import Detector, TransformersDetector, load_detector
from dpe_mner.pictures.extract import Extractor, picture_files
from dpe_mner.pictures.kinds import crop
from dpe_mner.pictures.opening import PictureError, open_picture
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.source import PictureSource
from dpe_mner.pictures.store import PictureStore
from dpe_mner.pictures.weights import ProviderError
from dpe_mner.pictures.yolox import YoloxDetector
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.settings import DetectorSettings, GridSettings, PictureSettings, RegionSettings
from dpe_mner.types import Post

if TYPE_CHECKING:
    from PIL.Image import Image

_WARM, _MOST, _ALONE, _SAMPLE = 5, 600, 60, 50
_TAGS = ("person", "chair", "cup", "book", "tie")  # what the text encoder reads beside a post in the bare calls


def check(subject: Subject) -> None:
    """Refuse a bench without pictures or the models that read them."""
    missing = [f"--picture-model {kind}=" for kind in ("grid", "tags") if kind not in subject.picture_models]
    if subject.images is None:
        missing.insert(0, "--images")
    if missing:
        raise InputError(f"bench: pictures needs {', '.join(missing)}")
    assert subject.images is not None
    picture_files(subject.images)


@dataclass(frozen=True)
class BareModels:
    """The models that extraction computes with, and the settings they are used with."""

    settings: PictureSettings
    backbone: Backbone
    detector: Detector

    @classmethod
    def load(cls, *, grid: str, detector: str) -> BareModels:
        """Whole picture, up to three regions of 2 x 2 blocks, and tags.

        Raises:
            InputError: If a model cannot be loaded.
        """
        section = DetectorSettings(model=detector)
        regions = RegionSettings(detector=section, pool=2)
        settings = PictureSettings(grid=GridSettings(model=grid), tags=section, regions=regions)
        try:
            return cls(settings, Backbone(grid), load_detector(section))
        except ProviderError as error:
            raise InputError(f"bench: {error}") from None

    def seconds(self, files: Sequence[Path]) -> float:
        """Time in the models alone, a picture at a time; pixels are made outside the clock."""
        regions = self.settings.regions
        assert regions is not None
        assert regions.detector is not None
        total = 0.0
        for path in files:
            image = open_picture(path, longest_side=self.settings.longest_side).image
            found = self.detector([image], threshold=regions.detector.threshold)[0][: regions.count]
            pixels = [self.backbone.pixels([part]) for part in (image, *(crop(image, d.box) for d in found))]
            work = partial(bare_calls, bare_detection(self.detector, image), self.backbone, pixels)
            total += timed(work)
        return total

    def half_precision_error(self, files: Sequence[Path]) -> float:
        """Mean relative error of features kept in half precision."""
        errors = []
        for path in files:
            image = open_picture(path).image
            with torch.inference_mode():
                exact = self.backbone.forward(self.backbone.pixels([image])).flatten(2).transpose(1, 2)[0].numpy()
            kept = self.backbone.maps([image])[0].astype(np.float32)
            errors.append(float(np.abs(kept - exact).sum() / np.abs(exact).sum()))
        return statistics.mean(errors)


@torch.inference_mode()
def bare_calls(detect: Callable[[], object], backbone: Backbone, pixels: Sequence[torch.Tensor]) -> None:
    """The detector once, and the backbone a picture or crop at a time, as it is fastest on a CPU."""
    detect()
    for one in pixels:
        backbone.forward(one)


def bare_detection(detector: Detector, image: Image) -> Callable[[], object]:
    """The detector's network on input made ready before."""
    if isinstance(detector, YoloxDetector):
        name = detector.session.get_inputs()[0].name
        canvas = detector.canvas(image)[0][None]
        return lambda: detector.session.run(None, {name: canvas})
    assert isinstance(detector, TransformersDetector)
    inputs = detector.processor(images=[image], return_tensors="pt")
    return lambda: detector.model(**inputs)


def measure(subject: Subject) -> dict[str, Any]:
    """Extraction's time as a ratio to the bare models', pictures a second, peak memory, sizes, half precision's error.

    Where posts have pictures and the model was trained on them, ``one_post`` is a prediction from the raw picture,
    one reasoning call and nothing cached, against the bare calls of backbone, detector and text encoder.
    """
    assert subject.images is not None
    files = readable(picture_files(subject.images)[:_MOST])
    models = BareModels.load(grid=subject.picture_models["grid"], detector=subject.picture_models["tags"])
    warm = min(_WARM, len(files) - 1)
    models.seconds(files[:warm])
    found = extraction(models, subject.images, files[:warm], files[warm:])
    found["half_precision_error"] = models.half_precision_error(files[:_SAMPLE])
    seen = [post for post in subject.posts if isinstance(post.image, str | Path)][: _ALONE + 1]
    if len(seen) > 1 and subject.model.settings.pictures.grid is not None:
        found["one_post"] = one_by_one(subject, models, seen)
    return {"pictures": found}


def readable(files: Sequence[Path]) -> list[Path]:
    """The pictures that can be opened; extraction lists the others, and bare models have nothing to read in them.

    Raises:
        InputError: If fewer than two are left.
    """
    found = []
    for path in files:
        try:
            open_picture(path)
        except PictureError:
            continue
        found.append(path)
    if len(found) < 2:
        raise InputError(
            f"bench: pictures needs two pictures that can be opened, of {len(files)} there are {len(found)}"
        )
    return found


def extraction(models: BareModels, folder: Path, warm: Sequence[Path], files: Sequence[Path]) -> dict[str, Any]:
    """Extraction into a store of its own, in two halves that take turns with the bare models."""
    middle = -(-len(files) // 2)
    spent = bare = 0.0
    peaks = []
    with tempfile.TemporaryDirectory() as place:
        store = PictureStore(place, write=True)
        try:
            extractor = Extractor(PictureReader(models.settings), store, folder, workers=torch.get_num_threads())
            extractor(warm)
            for half in (files[:middle], files[middle:]):
                bare += models.seconds(half)
                spent += extractor(half).seconds
                peaks.append(round(peak_process_memory(), 1))
            signatures = store.parts()
            sizes = {
                str(signatures[part]["kind"]): size / count / 1024 for part, (count, size) in store.sizes().items()
            }
        finally:
            store.close()
    return {
        "count": len(files),
        "ratio_to_bare_models": round(spent / bare, 3),
        "pictures_per_second": round(len(files) / spent, 1),
        "peak_memory_mb": {"half": peaks[0], "all": peaks[1]},
        "kilobytes_a_picture": {kind: round(size, 1) for kind, size in sizes.items()},
    }


def one_by_one(subject: Subject, models: BareModels, posts: Sequence[Post]) -> dict[str, float]:
    """A post with its picture, end to end, against the sum of the bare calls of all its models; the first warms up."""
    model = subject.model
    reader = PictureReader(model.settings.pictures, models=subject.picture_models)
    source = PictureSource(reader, images=subject.images)
    ratios, times = [], []
    for post in posts:
        bare = models.seconds([Path(str(post.image))]) + text_seconds(subject, post)
        started = time.perf_counter()
        list(model.predictions([post], PredictionOptions(), pictures=source))
        spent = time.perf_counter() - started
        ratios.append(spent / bare)
        times.append(1000 * spent)
    return {
        "median_ms": round(statistics.median(times[1:]), 1),
        "ratio_to_bare_models": round(statistics.median(ratios[1:]), 3),
        "posts": len(posts) - 1,
    }


def text_seconds(subject: Subject, post: Post) -> float:
    """The text encoder on the post and on five tags."""
    (batch,) = batches_of(subject.model, [Post(text=post.text, words=post.words, tags=_TAGS)], 1)[:1]
    with torch.inference_mode():
        return timed(lambda: subject.model.encode(batch))


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
