"""Train end to end on real pictures, and see whether relevance learns which picture belongs to which post.

Posts without labels get silver ones from a text model, for the point here is the pictures: the loss must fall, the
right picture of a held-out post must be found among 32 more often than by chance, and features read from the store
must equal features made on the spot.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import dpe_mner
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.words import words_of
from dpe_mner.fusion.relevance import masked_mean
from dpe_mner.model import DPEMNERModel
from dpe_mner.pictures.source import PictureSource
from dpe_mner.predictor import collate_windows, features_of
from dpe_mner.settings import GRAINS
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.train import train
from dpe_mner.types import Post

_BATCH = 32


def silver(posts: list[Post], path: Path) -> None:
    """Label posts with the bundled model, without their pictures."""
    model = dpe_mner.load()
    found = model.predict([Post(id=post.id, text=post.text) for post in posts], batch_size=64)
    with path.open("w", encoding="utf-8") as stream:
        for post, entities in zip(posts, found, strict=True):
            spans = [{"start": e.start, "end": e.end, "label": e.label} for e in entities]
            row = {"id": post.id, "text": post.text, "image": str(Path(str(post.image)).resolve()), "entities": spans}
            stream.write(json.dumps(row) + "\n")


@torch.inference_mode()
def retrieval(model: DPEMNERModel, posts: list[Post], source: PictureSource) -> dict[str, float]:
    """Share of posts whose own picture has the highest relevance among 32, by text level and grain."""
    assert model.tokenizer is not None
    hits: dict[str, list[bool]] = {}
    for start in range(0, len(posts) - _BATCH + 1, _BATCH):
        seen = source(posts[start : start + _BATCH])
        windows = [model.tokenizer.windows(s.post, words_of(s.post), index=k)[0] for k, s in enumerate(seen)]
        batch = collate_windows(windows, pad_id=model.tokenizer.pad_id, images=[features_of(s.parts) for s in seen])
        text, visual = model.encode(batch)
        network = model.network
        times = torch.full((1, len(batch)), model.settings.noise.timesteps - 1)
        context = network.prepare(text, visual, times, model.noise.signal_share(times))
        pooled = {"token": ("t", masked_mean(context.x_t, context.word_mask)), "sentence": ("g", context.x_g[:, 0])}
        together = torch.zeros(len(batch), len(batch))
        for name, (i, x) in pooled.items():
            for j in GRAINS:
                logits = network.text_level(i).gate(j).logits(x, visual[j].pooled)  # type: ignore[arg-type]
                together += logits.log_softmax(0)  # a picture that draws every text says nothing
                own = logits.argmax(1) == torch.arange(len(batch))
                hits.setdefault(f"{name} x {j}", []).extend(own[visual[j].present].tolist())
        hits.setdefault("all together", []).extend((together.argmax(1) == torch.arange(len(batch))).tolist())
    return {name: 100 * sum(values) / len(values) for name, values in hits.items()}


def largest_difference(source: PictureSource, posts: list[Post]) -> float:
    """Between features of the store and features made on the spot."""
    fresh = PictureSource(source.reader)
    worst = 0.0
    for stored, made in zip(source(posts), fresh(posts), strict=True):
        for a, b in zip(features_of(stored.parts), features_of(made.parts), strict=True):
            if a is not None and b is not None:
                worst = max(worst, float((a - b).abs().max()))
        assert stored.post.tags == made.post.tags
    return worst


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="posts.jsonl and the pictures it names")
    parser.add_argument("--grid", required=True, help="image backbone")
    parser.add_argument("--detector", required=True, help="object detector")
    parser.add_argument("--work", type=Path, required=True, help="where to write")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--held-out", type=int, default=128)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    posts = load_dataset(arguments.folder / "posts.jsonl").posts
    kept = len(posts) - arguments.held_out
    silver(posts[:kept], arguments.work / "train.jsonl")
    silver(posts[kept:], arguments.work / "valid.jsonl")
    detector = {"model": arguments.detector}
    pictures = {
        "grid": {"model": arguments.grid},
        "tags": detector,
        "regions": {"detector": detector, "pool": 2},
    }
    values = {
        "data.folder": arguments.work,
        "data.train": "train.jsonl",
        "data.valid": "valid.jsonl",
        "data.visual_text": "null",
        "data.images": (arguments.folder / "images").resolve(),
        "data.features": "pictures.store",
        "settings.pictures": json.dumps(pictures),
        "settings.loss.align_token": 1.0,
        "settings.loss.align_sentence": 1.0,
        "settings.loss.align_span": 1.0,
        "training.batch_size": _BATCH,
        "training.epochs": arguments.epochs,
        "output": arguments.work / "run",
    }
    overrides = [f"{key}={value}" for key, value in values.items()] + arguments.set
    recipe = load_recipe(Path(__file__).parent.parent / "recipes" / "twitter2017-minilm.yaml", overrides)
    metrics = train(recipe)
    held_out = load_dataset(arguments.work / "valid.jsonl").posts
    model = dpe_mner.load(str(arguments.work / "run"))
    model.use_pictures(store=arguments.work / "pictures.store", images=arguments.folder / "images")
    assert model.pictures is not None
    first, last = metrics["history"][0]["losses"], metrics["history"][-1]["losses"]
    for name in first:
        print(f"loss {name}: {first[name]:.3f} after the first epoch, {last[name]:.3f} after the last")
    for name, share in retrieval(model, held_out, model.pictures).items():
        print(f"own picture found among {_BATCH}, {name}: {share:.1f} % (by chance {100 / _BATCH:.1f} %)")
    print(f"largest difference of stored and fresh features: {largest_difference(model.pictures, held_out[:20]):g}")
    print(f"silver F1 on {len(held_out)} held-out posts: {metrics['f1']:.2f}")


if __name__ == "__main__":
    main()
