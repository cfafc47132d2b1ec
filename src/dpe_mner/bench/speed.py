"""What ``dpe-mner bench`` measures, and the one dictionary it comes back in."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from dpe_mner.bench.clock import in_turns, percentile, wait_for
from dpe_mner.bench.memory import peak_process_memory
from dpe_mner.bench.workload import batches_of, one_batch, posts_of_length, sample_posts, with_gold, with_picture_tokens
from dpe_mner.checkpoints.saved import WithoutDrawing
from dpe_mner.errors import InputError, nearest
from dpe_mner.model import DPEMNERModel
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import Predictor
from dpe_mner.settings import Settings
from dpe_mner.types import Post

PARTS = ("prediction", "latency", "scaling", "training")
STEPS = (1, 2, 3, 5)
SPANS = (16, 60, 150)
AXES: dict[str, tuple[int, ...]] = {
    "posts": (16, 64, 256),
    "words": (8, 16, 32, 64),
    "spans": (16, 60, 150),
    "steps": (1, 2, 5, 10),
    "caption_words": (4, 16, 48),
    "picture_tokens": (16, 64, 256),
}
_TRAIN_BATCH, _TRAIN_SPANS = 32, 60
_LATENCY_POSTS = 100

Log = Callable[[str], None]


class Bench:
    """Measurements on one model.

    Args:
        model: In evaluation mode, on the device to measure.
        posts: What to predict.
        batch_size: Posts computed together.
        repeats: Rounds of each comparison.

    Raises:
        InputError: If there is nothing to measure with.
    """

    def __init__(self, model: DPEMNERModel, posts: Sequence[Post], *, batch_size: int = 64, repeats: int = 3) -> None:
        if not posts:
            raise InputError("bench: no posts to measure with")
        if repeats < 1:
            raise InputError(f"bench: --repeats must be at least 1, got {repeats}")
        self.model = model
        self.posts = list(posts)
        self.batch_size = batch_size
        self.repeats = repeats
        assert model.tokenizer is not None
        self.predictor = Predictor(model, model.tokenizer)
        self.device = model.device

    def __call__(self, parts: Sequence[str] = PARTS, *, log: Log = lambda line: None) -> dict[str, Any]:
        """Measure.

        Args:
            parts: Some of :data:`PARTS`; figures of the others are not in the result.
            log: Receives what is being done.

        Raises:
            InputError: On an unknown part.
        """
        for part in parts:
            if part not in PARTS:
                raise InputError(f"bench: no part {part!r}{nearest(part, PARTS)}; there are {', '.join(PARTS)}")
        result: dict[str, Any] = {"posts": len(self.posts)}
        for part in PARTS:  # training last: it takes more memory than prediction
            if part in parts:
                log(f"{part} ...")
                result |= getattr(self, part)()
        return result | {"device": device_name(self.device), "threads": torch.get_num_threads()} | self.versions()

    def prediction(self) -> dict[str, Any]:
        """Posts a second, and ratios to the bare encoder on the same batches.

        The bare encoder reads the posts; ``encoder_all`` reads their captions and tags too, as prediction must.
        """
        batches = batches_of(self.model, self.posts, self.batch_size)
        works: dict[str, Callable[[], object]] = {
            "encoder": lambda: self._encode(batches, everything=False),
            "encoder_all": lambda: self._encode(batches, everything=True),
            "default": lambda: self._predict(self.posts),
        }
        for steps in STEPS:
            works[f"steps_{steps}"] = lambda steps=steps: self._predict(self.posts, steps=steps)  # type: ignore[misc]
        for spans in SPANS:
            works[f"spans_{spans}"] = lambda spans=spans: self._predict(self.posts, spans=spans)  # type: ignore[misc]
        seconds = in_turns(works, repeats=self.repeats, device=self.device)
        return {
            "batches": len(batches),
            "posts_per_second": {name: round(len(self.posts) / s, 1) for name, s in seconds.items()},
            "ratio_to_encoder": round(seconds["default"] / seconds["encoder"], 3),
            "ratio_to_encoder_with_captions": round(seconds["default"] / seconds["encoder_all"], 3),
            "ratios": {name: round(s / seconds["encoder"], 3) for name, s in seconds.items()},
            "peak_memory_mb": round(peak_memory(self.device), 1),
        }

    @torch.inference_mode()
    def _encode(self, batches: Sequence[Any], *, everything: bool) -> None:
        encoder = self.model.text_encoder.encoder
        for batch in batches:
            for pieces in (batch.text, batch.caption, batch.tags) if everything else (batch.text,):
                if pieces is not None:
                    encoder(input_ids=pieces.ids, attention_mask=pieces.mask.long())

    def _predict(self, posts: Sequence[Post], *, steps: int | None = None, spans: int | None = None) -> None:
        options = PredictionOptions(steps=steps, spans=spans, batch_size=self.batch_size)
        for _ in self.predictor(posts, options):
            pass

    def latency(self) -> dict[str, dict[str, float]]:
        """Milliseconds of posts predicted one by one: median and 99th percentile."""
        times = []
        for post in (self.posts * _LATENCY_POSTS)[:_LATENCY_POSTS]:
            wait_for(self.device)
            started = time.perf_counter()
            self._predict([post])
            times.append(1000 * (time.perf_counter() - started))
        found = {name: round(percentile(times, share), 2) for name, share in (("p50", 0.5), ("p99", 0.99))}
        return {"latency_ms": found}

    def scaling(self) -> dict[str, dict[str, dict[str, float]]]:
        """Milliseconds a call takes as one size grows and the others stay.

        Picture tokens are random image features y_c, which any model takes, trained on them or not.
        """
        table: dict[str, dict[str, float]] = {}
        for axis, sizes in AXES.items():
            works = {str(size): self._call_of_size(axis, size) for size in sizes}
            seconds = in_turns(works, repeats=self.repeats, device=self.device)
            table[axis] = {size: round(1000 * s, 2) for size, s in seconds.items()}
        return {"scaling_ms": table}

    def _call_of_size(self, axis: str, size: int) -> Callable[[], object]:
        posts = posts_of_length(
            size if axis == "posts" else 64,
            size if axis == "words" else 16,
            caption_words=size if axis == "caption_words" else 12,
        )
        if axis == "picture_tokens":
            batch = with_picture_tokens(
                one_batch(self.model, posts), size, self.model.settings.fusion.coarse_image_size
            )
            return lambda: self.model.reason(batch)
        steps, spans = (size if axis == "steps" else None), (size if axis == "spans" else None)
        return lambda: self._predict(posts, steps=steps, spans=spans)

    def training(self) -> dict[str, Any]:
        """A training step at batch 32 against the bare encoder's forward and backward.

        ``step``: 60 spans and the checkpoint's own passes a step; ``one_pass``: 60 spans and one pass, as the paper
        trains; ``own``: the checkpoint's spans and passes.
        """
        model = self.model
        model.use_transformers()  # as training does
        wide = trained_as(model, noise={"spans": _TRAIN_SPANS})
        once = trained_as(model, noise={"spans": _TRAIN_SPANS}, loss={"unroll": 1})
        batch = with_gold(one_batch(model, posts_of_length(_TRAIN_BATCH, 16, caption_words=12)))
        model.train()

        def step(trained: DPEMNERModel) -> None:
            generator = torch.Generator(device=self.device).manual_seed(0)
            trained(batch, generator).loss.backward()
            model.zero_grad(set_to_none=True)

        def encoder_step() -> None:
            states = model.text_encoder.encoder(input_ids=batch.text.ids, attention_mask=batch.text.mask.long())
            states.last_hidden_state.square().mean().backward()
            model.zero_grad(set_to_none=True)

        works: dict[str, Callable[[], object]] = {
            "encoder": encoder_step,
            "step": lambda: step(wide),
            "one_pass": lambda: step(once),
            "own": lambda: step(model),
        }
        try:
            seconds = in_turns(works, repeats=self.repeats, device=self.device)
        finally:
            model.eval()
        return {
            "train_posts_per_second": round(_TRAIN_BATCH / seconds["step"], 1),
            "train_ratio_to_encoder": round(seconds["step"] / seconds["encoder"], 3),
            "train_ratios": {name: round(s / seconds["encoder"], 3) for name, s in seconds.items()},
            "train_peak_memory_mb": round(peak_memory(self.device), 1),
        }

    def versions(self) -> dict[str, Any]:
        """What was measured, on what."""
        import transformers

        from dpe_mner.version import __version__

        reasoning = self.model.settings.reasoning
        return {
            "steps": reasoning.steps,
            "spans": reasoning.spans or self.model.settings.noise.spans,
            "batch_size": self.batch_size,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "version": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }


def trained_as(model: DPEMNERModel, **changes: Mapping[str, Any]) -> DPEMNERModel:
    """The same weights, shared, under other training settings.

    Args:
        model: Has the weights.
        changes: Keys and values of the sections ``noise`` and ``loss`` that no weight depends on.
    """
    values = model.settings.model_dump()
    settings = Settings.model_validate(values | {name: values[name] | dict(given) for name, given in changes.items()})
    with torch.random.fork_rng(devices=[]), WithoutDrawing():
        twin = DPEMNERModel(replace(model.config, settings=settings), model.text_encoder.encoder)
    twin.text_encoder, twin.network = model.text_encoder, model.network
    return twin


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in MB: the device's, or the process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_process_memory()


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def default_posts() -> list[Post]:
    """256 posts when no file is given."""
    return sample_posts(256)
