"""What pictures cost: extraction and prediction against the bare model calls on the same pixels, in one run.

Bare calls are the backbone on preprocessed whole pictures and crops and the detector's session on ready canvases,
nothing else: no decoding, no resizing, no post-processing, no writing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import dpe_mner
from dpe_mner.bench.memory import peak_process_memory
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.words import words_of
from dpe_mner.pictures.backbone import Backbone
from dpe_mner.pictures.extract import Extractor, picture_files
from dpe_mner.pictures.kinds import crop
from dpe_mner.pictures.opening import open_picture
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.store import PictureStore
from dpe_mner.pictures.yolox import YoloxDetector
from dpe_mner.predictor import collate_windows
from dpe_mner.settings import DetectorSettings, GridSettings, PictureSettings, RegionSettings


def bare_seconds(backbone: Backbone, detector: YoloxDetector, files: list[Path], settings: PictureSettings) -> float:
    """Time in the models alone, a picture at a time as they are fastest on a CPU; pixels are made outside the clock."""
    assert settings.regions is not None
    assert settings.regions.detector is not None
    total = 0.0
    name = detector.session.get_inputs()[0].name
    for path in files:
        image = open_picture(path, longest_side=settings.longest_side).image
        found = detector([image], threshold=settings.regions.detector.threshold)[0][: settings.regions.count]
        pixels = [backbone.pixels([image]), *(backbone.pixels([crop(image, d.box)]) for d in found)]
        canvas = detector.canvas(image)[0][None]
        started = time.perf_counter()
        detector.session.run(None, {name: canvas})
        with torch.inference_mode():
            for one in pixels:
                backbone.forward(one)
        total += time.perf_counter() - started
    return total


def half_precision_error(backbone: Backbone, files: list[Path]) -> float:
    """Mean relative error of features kept in half precision."""
    errors = []
    for path in files:
        image = open_picture(path).image
        with torch.inference_mode():
            exact = backbone.forward(backbone.pixels([image])).flatten(2).transpose(1, 2)[0].numpy()
        kept = backbone.maps([image])[0].astype(np.float32)
        errors.append(float(np.abs(kept - exact).sum() / np.abs(exact).sum()))
    return statistics.mean(errors)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="posts.jsonl and images/")
    parser.add_argument("--grid", required=True)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--model", help="a checkpoint trained on these parts, to time prediction from raw pictures")
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    section = DetectorSettings(model=arguments.detector)
    regions = RegionSettings(detector=section, pool=2)
    settings = PictureSettings(grid=GridSettings(model=arguments.grid), tags=section, regions=regions)
    files = picture_files(arguments.folder / "images")[: arguments.pictures]
    backbone, detector = Backbone(arguments.grid), YoloxDetector(arguments.detector)
    bare_seconds(backbone, detector, files[:5], settings)  # warm
    with tempfile.TemporaryDirectory() as folder:
        store = PictureStore(folder, write=True)
        extractor = Extractor(PictureReader(settings), store, arguments.folder, workers=arguments.threads)
        extractor(files[:5])
        rest = files[5:]
        middle = len(rest) // 2
        spent, bare, peaks = 0.0, 0.0, []
        for part in (rest[:middle], rest[middle:]):  # in turns, so that a busy machine hurts both alike
            bare += bare_seconds(backbone, detector, part, settings)
            spent += extractor(part).seconds
            peaks.append(peak_process_memory())
        print(f"bare model calls: {bare:.1f} s for {len(rest)} pictures")
        print(
            f"extract (grid, 3 regions, tags): {spent:.1f} s, {spent / bare:.2f}x, {len(rest) / spent:.1f} pictures/s"
        )
        print(f"peak memory after half of the pictures {peaks[0]:.0f} MB, after all {peaks[1]:.0f} MB")
        signatures = store.parts()
        for part, (count, size) in store.sizes().items():
            print(f"  {signatures[part]['kind']}: {size / count / 1024:.1f} KB a picture")
        store.close()
    print(f"half precision, mean relative error of y_c: {half_precision_error(backbone, files[:50]):.1e}")
    if arguments.model is not None:
        predict_one_by_one(arguments.model, arguments.folder, backbone, detector, settings)


def predict_one_by_one(
    name: str, folder: Path, backbone: Backbone, detector: YoloxDetector, settings: PictureSettings
) -> None:
    """A post with its picture, end to end, against the sum of the bare calls of all its models."""
    posts = load_dataset(folder / "posts.jsonl").posts[:60]
    model = dpe_mner.load(name)
    assert model.tokenizer is not None
    model.predict(posts[0])
    ratios, times = [], []
    for post in posts[1:]:
        bare = bare_seconds(backbone, detector, [Path(str(post.image))], settings) + text_seconds(model, post)
        spent = timed(lambda post=post: model.predict(post))
        ratios.append(spent / bare)
        times.append(spent)
    print(
        f"one post with its picture, end to end: median {1000 * statistics.median(times):.0f} ms, "
        f"{statistics.median(ratios):.2f}x the bare calls of backbone, detector and text encoder"
    )


def text_seconds(model: dpe_mner.DPEMNERModel, post: dpe_mner.Post) -> float:
    """The text encoder on the post and on five tags."""
    assert model.tokenizer is not None
    seen = dpe_mner.Post(text=post.text, tags=["person", "chair", "cup", "book", "tie"])
    windows = model.tokenizer.windows(seen, words_of(seen))
    batch = collate_windows(windows, pad_id=model.tokenizer.pad_id)
    with torch.inference_mode():
        return timed(lambda: model.encode(batch))


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
