"""Studies that docs and results quote, each a command; what measures speed and memory is ``dpe-mner bench``.

    python benchmarks/studies.py steps valid.txt --visual-text visual_text.jsonl

Data are arguments, nothing is downloaded, figures go to stdout.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

import dpe_mner
from dpe_mner import DPEMNERModel, InputError, LabelledSpan, Post
from dpe_mner.bench.subject import encode_bare
from dpe_mner.bench.workload import batches_of
from dpe_mner.data.dataset import Dataset, load_dataset
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.answers import evaluate_posts, require_labels
from dpe_mner.pictures.source import PictureSource
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import collate_windows, features_of
from dpe_mner.settings import GRAINS
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.shipped import shipped_recipe
from dpe_mner.training.train import train
from dpe_mner.training.validate import Validator

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Data = Annotated[Path, typer.Argument(help="Labelled posts.")]
VisualText = Annotated[Path | None, typer.Option(help="Captions and tags by image id.")]
Model = Annotated[str | None, typer.Option(help="Checkpoint; the bundled model if absent.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]

BATCH = 64


def labelled(data: Path, visual_text: Path | None) -> Dataset:
    """Posts with gold entities, Twitter2017's OTHER read as MISC."""
    dataset = load_dataset(data, visual_text=visual_text, label_map={"OTHER": "MISC"})
    require_labels(dataset)
    return dataset


# --- raw text


_NO_SPACE_BEFORE = frozenset(".,!?:;)]}%’'”…")
_NO_SPACE_AFTER = frozenset("#@([{$“‘'’")


def natural(post: Post) -> Post:
    """A post of words as one would write it; its gold entities move along, in characters.

    ``# NBA : Kawhi Leonard wins !`` becomes ``#NBA: Kawhi Leonard wins!``. A quote opens and closes in turn; an
    apostrophe clings to both sides.
    """
    words = post.words or ()
    text, starts, ends, inside_quote = "", [], [], False
    cling = True
    for word in words:
        closing = word in _NO_SPACE_BEFORE or (word == '"' and inside_quote)
        if not (cling or closing) and text:
            text += " "
        starts.append(len(text))
        text += word
        ends.append(len(text))
        cling = word in _NO_SPACE_AFTER or (word == '"' and not inside_quote)
        if word == '"':
            inside_quote = not inside_quote
    spans = tuple(LabelledSpan(start=starts[e.start], end=ends[e.end - 1], label=e.label) for e in post.entities or ())
    return Post(id=post.id, text=text, caption=post.caption, tags=post.tags, entities=spans)


@app.command()
def raw_text(data: Data, visual_text: VisualText = None, model: Model = None) -> None:
    """F1 on posts joined back into natural text against F1 on the given words."""
    posts = labelled(data, visual_text).posts
    loaded = dpe_mner.load(model)
    options = PredictionOptions(batch_size=BATCH)
    raw = [natural(post) for post in posts]
    print("e.g.", raw[min(1, len(raw) - 1)].text)
    given_f1, raw_f1 = (evaluate_posts(loaded, each, options).overall.f1 for each in (posts, raw))
    print(f"given words F1 {given_f1:.2f}, raw text F1 {raw_f1:.2f}, difference {raw_f1 - given_f1:+.2f}")


# --- choices at prediction


@app.command()
def steps(
    data: Data,
    visual_text: VisualText = None,
    model: Model = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the starting noise.")] = 3,
) -> None:
    """F1 after 1, 2, 3 and 5 reasoning steps, and with captions and tags left out, at the checkpoint's threshold."""
    dataset = labelled(data, visual_text)
    loaded = dpe_mner.load(model)
    bare = [replace(post, caption=None, tags=None) for post in dataset.posts]
    print(f"{data}, {len(dataset.posts)} posts, labels {dataset.sha256[:12]}")
    print("| reasoning steps | F1 | F1 without captions |\n|---|---|---|")
    for count in (1, 2, 3, 5):
        means = []
        for posts in (dataset.posts, bare):
            every = [PredictionOptions(steps=count, seed=seed, batch_size=BATCH) for seed in range(seeds)]
            means.append(sum(evaluate_posts(loaded, posts, options).overall.f1 for options in every) / seeds)
        print(f"| {count} | {means[0]:.2f} | {means[1]:.2f} |")


@dataclass(frozen=True)
class Choice:
    """Settings of a prediction that no weight depends on."""

    name: str
    steps: int | None = None
    spans: int | None = None
    spans_per_word: float | None = None
    caption_layers: int | None = None

    def apply(self, model: DPEMNERModel, usual: dict[str, Any]) -> None:
        """Set them, all others as usual."""
        own = {"steps": self.steps, "spans": self.spans, "spans_per_word": self.spans_per_word}
        reasoning = usual["reasoning"] | {name: value for name, value in own.items() if value is not None}
        layers = usual["encoder"]["caption_layers"] if self.caption_layers is None else self.caption_layers
        model.configure(reasoning=reasoning, encoder={"caption_layers": layers})


CHOICES = (
    Choice("default"),
    Choice("captions through two encoder layers", caption_layers=2),
    Choice("captions through one encoder layer", caption_layers=1),
    Choice("16 spans, 1 a word", spans=16, spans_per_word=1.0),
    Choice("8 spans, 0.75 a word", spans=8, spans_per_word=0.75),
    Choice("8 spans, 0.5 a word", spans=8, spans_per_word=0.5),
    Choice("60 spans", spans=60, spans_per_word=0.0),
    Choice("2 steps", steps=2),
    Choice("3 steps", steps=3),
    Choice("5 steps", steps=5),
)


@app.command()
def choices(data: Data, visual_text: VisualText = None, model: Model = None, threads: Threads = 2) -> None:
    """F1 of each choice, with a threshold calibrated for it, and its time as a ratio to the bare encoder over posts."""
    torch.set_num_threads(threads)
    posts = labelled(data, visual_text).posts
    loaded = dpe_mner.load(model)
    batches, validator = batches_of(loaded, posts, BATCH), Validator(posts, batch_size=BATCH)
    encoder, usual = loaded.text_encoder.encoder, loaded.settings.model_dump()

    def bare() -> float:
        started = time.perf_counter()
        encode_bare(encoder, batches)
        return time.perf_counter() - started

    bare()
    validator(loaded)
    print(f"{len(posts)} posts, {threads} threads; F1 with a threshold calibrated for each row")
    for choice in CHOICES:
        choice.apply(loaded, usual)
        before = bare()  # beside each row, so that a drifting machine touches both alike
        started = time.perf_counter()
        found = validator(loaded)
        seconds = time.perf_counter() - started
        ratio = 2 * seconds / (before + bare())
        print(f"{choice.name:38} F1 {found.calibrated.overall.f1:.2f}  {ratio:5.2f}x the bare encoder")


@app.command()
@torch.inference_mode()
def matrix_work(data: Data, visual_text: VisualText = None, model: Model = None) -> None:
    """Matrix products of a prediction against those of the bare encoder over the posts alone, counted, not timed."""
    loaded = dpe_mner.load(model)
    batches = batches_of(loaded, load_dataset(data, visual_text=visual_text).posts, BATCH)
    with FlopCounterMode(display=False) as encoder:
        encode_bare(loaded.text_encoder.encoder, batches)
    with FlopCounterMode(display=False) as whole:
        for batch in batches:
            loaded.reason(batch)
    print(f"{whole.get_total_flops() / encoder.get_total_flops():.2f} times the encoder's matrix work")


# --- training on real pictures


_TOGETHER = 32  # pictures to choose from


def label_by_model(posts: Sequence[Post], path: Path) -> None:
    """Write posts with silver labels of the bundled model, which sees their text alone."""
    found = dpe_mner.load().predict([Post(id=post.id, text=post.text) for post in posts], batch_size=BATCH)
    with path.open("w", encoding="utf-8") as stream:
        for post, entities in zip(posts, found, strict=True):
            spans = [{"start": e.start, "end": e.end, "label": e.label} for e in entities]
            row = {"id": post.id, "text": post.text, "image": str(Path(str(post.image)).resolve()), "entities": spans}
            stream.write(json.dumps(row) + "\n")


@torch.inference_mode()
def retrieval(model: DPEMNERModel, posts: Sequence[Post], source: PictureSource) -> dict[str, float]:
    """Percent of posts whose own picture has the highest relevance among 32, by text level and grain."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    hits: dict[str, list[bool]] = defaultdict(list)
    own = torch.arange(_TOGETHER)
    for start in range(0, len(posts) - _TOGETHER + 1, _TOGETHER):
        seen = source(posts[start : start + _TOGETHER])
        windows = [tokenizer.windows(s.post, words_of(s.post), index=k)[0] for k, s in enumerate(seen)]
        images = [features_of(s.parts) for s in seen]
        trace = model.reason(collate_windows(windows, pad_id=tokenizer.pad_id, images=images), steps=1)
        there = [j for j in GRAINS if trace.visual[j].present.any()]
        pairs = model.network.pair_relevance(trace.context, [])  # of words and sentence; no spans
        together = torch.zeros(_TOGETHER, _TOGETHER)
        for name, relevances in (("token", pairs["t"]), ("sentence", pairs["g"])):
            for j, relevance in zip(there, relevances, strict=True):
                together += relevance.logits.log_softmax(0)  # a picture that draws every text says nothing
                right = relevance.logits.argmax(1) == own
                hits[f"{name} x {j}"].extend(right[relevance.present].tolist())
        hits["all together"].extend((together.argmax(1) == own).tolist())
    return {name: 100 * sum(values) / len(values) for name, values in hits.items()}


def largest_difference(source: PictureSource, posts: Sequence[Post]) -> float:
    """Between features of the store and features made on the spot."""
    worst = 0.0
    for stored, made in zip(source(posts), PictureSource(source.reader)(posts), strict=True):
        own, other = features_of(stored.parts), features_of(made.parts)
        for a, b in ((own.coarse, other.coarse), (own.fine, other.fine)):
            if a is not None and b is not None:
                worst = max(worst, float((a - b).abs().max()))
    return worst


@app.command()
def own_pictures(
    folder: Annotated[Path, typer.Argument(help="posts.jsonl and the images/ it names.")],
    grid: Annotated[str, typer.Option(help="Image backbone.")],
    detector: Annotated[str, typer.Option(help="Object detector.")],
    work: Annotated[Path, typer.Option(help="Where to write.")],
    epochs: int = 12,
    held_out: Annotated[int, typer.Option(min=_TOGETHER, help="Posts to choose pictures for.")] = 128,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe.")] = None,
) -> None:
    """Train on real pictures and silver labels; does relevance learn which picture belongs to which post?

    Posts without labels get those of the bundled model, for the point here is the pictures: the loss must fall, the
    own picture of a held-out post must be found among 32 more often than by chance, and features read from the store
    must equal features made on the spot.
    """
    work.mkdir(parents=True, exist_ok=True)
    posts = load_dataset(folder / "posts.jsonl").posts
    kept = len(posts) - held_out
    label_by_model(posts[:kept], work / "train.jsonl")
    label_by_model(posts[kept:], work / "valid.jsonl")
    section = {"model": detector}
    pictures = {"grid": {"model": grid}, "tags": section, "regions": {"detector": section, "pool": 2}}
    values: dict[str, Any] = {
        "data.folder": work,
        "data.train": "train.jsonl",
        "data.valid": "valid.jsonl",
        "data.visual_text": "null",
        "data.images": (folder / "images").resolve(),
        "data.features": "pictures.store",
        "settings.pictures": json.dumps(pictures),
        "settings.loss.align_token": 1.0,
        "settings.loss.align_sentence": 1.0,
        "settings.loss.align_span": 1.0,
        "training.batch_size": _TOGETHER,
        "training.epochs": epochs,
        "output": work / "run",
    }
    given = [f"{key}={value}" for key, value in values.items()]
    metrics = train(load_recipe(shipped_recipe("twitter2017-minilm"), given + (overrides or [])))
    valid = load_dataset(work / "valid.jsonl").posts
    model = dpe_mner.load(work / "run")
    model.use_pictures(store=work / "pictures.store", images=folder / "images")
    assert model.pictures is not None
    first, last = metrics["history"][0]["losses"], metrics["history"][-1]["losses"]
    for name in first:
        print(f"loss {name}: {first[name]:.3f} after the first epoch, {last[name]:.3f} after the last")
    for name, share in retrieval(model, valid, model.pictures).items():
        print(f"own picture found among {_TOGETHER}, {name}: {share:.1f} % (by chance {100 / _TOGETHER:.1f} %)")
    print(f"largest difference of stored and fresh features: {largest_difference(model.pictures, valid[:20]):g}")
    print(f"silver F1 on {len(valid)} held-out posts: {metrics['f1']:.2f}")


if __name__ == "__main__":
    try:
        app()
    except InputError as error:
        typer.echo(f"studies: error: {error}", err=True)
        raise SystemExit(2) from None
