"""DPE-MNER: encoder, reasoning network, training pass and reasoning loop."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpe_mner.checkpoints.config import DPEMNERConfig
from dpe_mner.checkpoints.saved import SavedModel
from dpe_mner.data.conventions import convention_number, with_convention
from dpe_mner.diffusion.codec import SpanCodec
from dpe_mner.diffusion.noise import NoiseProcess, starting_noise
from dpe_mner.diffusion.start import GoldExpansion, starting_signals
from dpe_mner.errors import InputError
from dpe_mner.fusion.text_level import VisualGrains
from dpe_mner.objective.criterion import Criterion, NetworkOutputs, TrainingOutput
from dpe_mner.pictures.source import PictureSource, picture_source
from dpe_mner.pipeline import PredictionOptions, Predicts
from dpe_mner.predictor import Predictor
from dpe_mner.ranks import drawn
from dpe_mner.reasoning.loop import SpanStep, run_steps
from dpe_mner.reasoning.network import Context, ReasoningNetwork, SpanPass
from dpe_mner.reasoning.trace import ReasoningTrace
from dpe_mner.reasoning.unannotated import class_mask
from dpe_mner.representations.batch import Batch, ImageFeatures
from dpe_mner.representations.bert import BertEncoder
from dpe_mner.representations.encoders import load_pretrained, new_encoder, own_config, transformers_encoder
from dpe_mner.representations.text import TextEncoder, TextStates
from dpe_mner.representations.tokenizer import checkpoint_tokenizer, load_tokenizer
from dpe_mner.representations.windows import WindowTokenizer, piece_limit
from dpe_mner.settings import Convention, Section, Settings, changed_settings
from dpe_mner.types import Post, Prediction

# A process made by fork has none of the threads that PyTorch computes with, and would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class DPEMNERModel(SavedModel, Predicts):
    """Decompose, prioritize and eliminate: named entities by iterative reasoning over spans.

    Args:
        config: Encoder, settings and labels.
        encoder: The text encoder; transformers' with fresh weights when not given.
    """

    unannotated: Tensor | None

    def __init__(self, config: DPEMNERConfig, encoder: nn.Module | None = None) -> None:
        super().__init__(config)
        settings = config.settings
        self.text_encoder = TextEncoder(
            encoder or new_encoder(config.encoder_config()), settings.encoder, conventions=len(config.conventions)
        )
        self.network = ReasoningNetwork(text_width=self.text_encoder.width, classes=config.classes, settings=settings)
        self.criterion = Criterion(settings)
        self.register_buffer("unannotated", class_mask(config.unannotated, config.classes), persistent=False)
        self._pictures: PictureSource | None = None

    @classmethod
    def from_encoder(
        cls,
        encoder: str,
        *,
        labels: Sequence[str],
        settings: Settings | None = None,
        conventions: Sequence[Convention] = (),
    ) -> DPEMNERModel:
        """A new model on a pretrained encoder.

        Args:
            encoder: Hub id or folder of a BERT-like encoder, or of a trained model whose encoder is taken.
            labels: Entity types.
            settings: All settings; the paper's when not given.
            conventions: Annotation conventions of the corpora it will be trained on, the default first.

        Raises:
            InputError: If the encoder cannot be loaded.
        """
        encoder_config, pretrained = load_pretrained(encoder)
        own = own_config(Path(encoder)) is not None
        tokenizer = checkpoint_tokenizer(Path(encoder)) if own else load_tokenizer(encoder)
        config = DPEMNERConfig(
            encoder=_portable(encoder_config.to_dict()),
            settings=settings or Settings(),
            labels=list(labels),
            conventions=list(conventions),
        )
        model = cls(config)
        model.text_encoder.load_encoder(pretrained)
        model.attach_tokenizer(tokenizer)
        return model

    def attach_tokenizer(self, tokenizer: Any) -> None:
        """Give the model the tokenizer it predicts with and is saved with."""
        limit = piece_limit(self.text_encoder.encoder.config)
        self.tokenizer = WindowTokenizer(
            tokenizer, self.settings.encoder, max_pieces=limit, conventions=self.conventions
        )

    def use_transformers(self) -> None:
        """Have transformers' classes compute the encoder, for what only they can do; the answers stay."""
        if isinstance(self.text_encoder.encoder, BertEncoder):
            self.text_encoder.encoder = transformers_encoder(self.text_encoder.encoder, self.config.encoder_config())

    def gradient_checkpointing_enable(self) -> None:
        """Compute the encoder's inner states again in the backward pass instead of keeping them."""
        self.use_transformers()
        self.text_encoder.encoder.gradient_checkpointing_enable()

    @property
    def settings(self) -> Settings:
        """All settings; :meth:`configure` replaces those that a loaded model can change."""
        return self.config.settings

    def configure(self, **changes: Mapping[str, Any] | Section) -> None:
        """Change how a loaded model reasons and decides: ``reasoning``, ``decision`` and ``encoder.caption_layers``.

        >>> model.configure(reasoning={"steps": 3}, encoder={"caption_layers": 2})  # doctest: +SKIP

        Args:
            changes: Keys and new values by section.

        Raises:
            InputError: On a key or value that is wrong, or one that shapes weights or training.
        """
        settings = changed_settings(self.settings, changes)
        self.config = replace(self.config, settings=settings)
        self.text_encoder.settings = settings.encoder
        if self.tokenizer is not None:
            self.tokenizer.settings = settings.encoder

    @property
    def labels(self) -> list[str]:
        """Entity types, in the order of the classes 1 .. C-1."""
        return self.config.label_names

    @property
    def annotation_conventions(self) -> list[Convention]:
        """Annotation conventions of the corpora it was trained on, the default first."""
        return list(self.config.conventions)

    @property
    def usual(self) -> tuple[int, int]:
        """The steps gamma and spans N this model takes when nobody asks for others."""
        reasoning = self.settings.reasoning
        return reasoning.steps, reasoning.spans or self.settings.noise.spans

    @property
    def pictures(self) -> PictureSource | None:
        """What makes the parts of posts' pictures; None when this model uses none."""
        if self._pictures is None and any(self.settings.pictures.model_dump(exclude={"longest_side"}).values()):
            self.use_pictures()
        return self._pictures

    def use_pictures(
        self,
        *,
        models: Mapping[str, str] | None = None,
        store: str | os.PathLike[str] | None = None,
        images: str | os.PathLike[str] | None = None,
        fetch_urls: bool = False,
    ) -> None:
        """Say where pictures' parts come from; without this the checkpoint's own models make them.

        Args:
            models: Where models lie on this machine, by kind: ``{"grid": "folder", "tags": "yolox.onnx"}``.
                ``caption`` and ``tags`` may be given to any checkpoint, for they are text.
            store: Parts made before by ``dpe-mner extract``; looked into first.
            images: Folder that the names in the store count from.
            fetch_urls: Download pictures given as URLs.

        Raises:
            InputError: If a name or the store is wrong.
        """
        where: dict[str, Any] = {"store": store, "images": images, "fetch_urls": fetch_urls}
        self._pictures = picture_source(self.settings.pictures, device=str(self.device), models=models, **where)

    @cached_property
    def noise(self) -> NoiseProcess:
        """Eq. 1, made when first used."""
        return NoiseProcess(timesteps=self.settings.noise.timesteps)

    @cached_property
    def codec(self) -> SpanCodec:
        """Spans as signals."""
        return SpanCodec(self.settings.noise.signal_scale)

    @property
    def step(self) -> SpanStep:
        """Eq. 2, from one pass to the next."""
        return SpanStep(self.noise, self.codec, self.settings.reasoning.eta)

    def encode(self, batch: Batch) -> tuple[TextStates, VisualGrains]:
        """All six representations that do not depend on spans: x_t, x_g, y_c, y_ct, y_f, y_ft."""
        visual = {j: pieces for j, pieces in (("c", batch.caption), ("f", batch.tags)) if pieces is not None}
        embedded, *visual_embedded = self.text_encoder.embed(batch.text, *visual.values())
        text = self.text_encoder(batch, embedded)
        encoded = {
            j: self.text_encoder.visual_text(pieces, states)
            for (j, pieces), states in zip(visual.items(), visual_embedded, strict=True)
        }
        images = {"c": _image(batch.coarse), "f": _image(batch.fine)}
        return text, self.network.project_visual(encoded, images, text.x_t)

    def prepare(self, batch: Batch, text: TextStates, visual: VisualGrains, times: Tensor) -> Context:
        """What all reasoning passes share, with the classes that each post's convention leaves out."""
        unannotated = None
        if self.unannotated is not None and batch.convention is not None:
            unannotated = self.unannotated[batch.convention]
        return self.network.prepare(text, visual, times, self.noise.signal_share(times), unannotated)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> TrainingOutput:
        """One training pass: noised gold in, the losses of eq. 20 out.

        Args:
            batch: Posts with gold entities.
            generator: Source of times and noise; on the batch's device.

        Returns:
            The summed loss and its parts.
        """
        if batch.gold is None:
            raise ValueError("training needs a batch with gold entities")
        text, visual = self.encode(batch)
        times = self._training_times(batch, generator)
        context = self.prepare(batch, text, visual, times)
        passes = self._training_passes(context, self._noised_gold(batch, times[0], generator), times, batch, generator)
        given = NetworkOutputs(
            outputs=[current.output for current in passes],
            anchors=[current.ends[..., 0] for current in passes],
            tags=self.network.tag(context),
            relevance=self.network.pair_relevance(context, passes),
        )
        return self.criterion(given, batch.gold)

    def _training_times(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Times t of the training passes. *Shape:* (K, B)."""
        loss, power = self.settings.loss, self.settings.reasoning.time_power
        return self.noise.training_times(batch.lengths, loss.unroll, loss.pure_noise_share, generator, power=power)

    def _noised_gold(self, batch: Batch, t: Tensor, generator: torch.Generator | None) -> Tensor:
        """Signals the first pass starts from: gold noised to t, or noise alone. *Shape:* (B, N, 2)."""
        assert batch.gold is not None
        noise = self.settings.noise
        index, from_gold = GoldExpansion(noise.spans, noise.gold_share)(batch.gold.count)
        spans = torch.gather(batch.gold.spans, 1, index[..., None].expand(-1, -1, 2))
        z_0 = self.codec.encode(spans, batch.lengths)
        pure = drawn(torch.randn, z_0.shape, generator=generator, device=z_0.device)
        z_t = self.noise.add_noise(z_0, t, pure)
        z_t = starting_signals(z_t, from_gold, scale=self.codec.scale, generator=generator)
        z_t = torch.where((t == noise.timesteps - 1)[:, None, None], pure, z_t)  # as reasoning starts
        return self.codec.clamp(z_t)

    def _training_passes(
        self, context: Context, z_t: Tensor, times: Tensor, batch: Batch, generator: torch.Generator | None
    ) -> list[SpanPass]:
        """One pass at each of the times of each post, from the second on from the model's own output."""
        passes = [self.network(context, 0, self.codec.ends(z_t, batch.lengths), None)]
        for k in range(1, len(times)):
            fresh = None
            if self.step.eta > 0:
                fresh = drawn(torch.randn, z_t.shape, generator=generator, device=z_t.device)
            z_t, found = self.step(z_t, passes[-1].output, times[k - 1], times[k], batch.lengths, fresh)
            passes.append(self.network(context, k, self.codec.ends(z_t, batch.lengths), found))
        return passes

    @torch.inference_mode()
    def reason(
        self, batch: Batch, *, seed: int = 0, steps: int | None = None, spans: int | None = None
    ) -> ReasoningTrace:
        """Reason from noise to entities in gamma steps.

        Args:
            batch: Posts.
            seed: The noise depends on it alone, so a post gets the same answer in any batch.
            steps: gamma; the checkpoint's when not given.
            spans: N; when not given the checkpoint's, more for long posts if it says so.

        Returns:
            All steps.
        """
        settings = self.settings
        chosen = settings.reasoning
        gamma = steps or chosen.steps
        N = spans or max(chosen.spans or settings.noise.spans, round(chosen.spans_per_word * batch.words))
        device, B = batch.lengths.device, len(batch)
        pairs = self.noise.times(gamma, power=chosen.time_power)
        times = torch.tensor([t for t, _ in pairs], device=device)[:, None].expand(-1, B)
        text, visual = self.encode(batch)
        context = self.prepare(batch, text, visual, times)
        generator = torch.Generator().manual_seed(seed)
        z_T = starting_noise(N, start=chosen.start, generator=generator).to(device).expand(B, -1, -1)
        passes = run_steps(
            self.network,
            context,
            self.step,
            self.codec.clamp(z_T),
            batch.lengths,
            pairs,
            draw=lambda: torch.randn(N, 2, generator=generator),
        )
        return ReasoningTrace(steps=passes, times=[t for t, _ in pairs], context=context, visual=visual)

    def predictions(
        self, posts: Iterable[Post], options: PredictionOptions, *, pictures: PictureSource | None = None
    ) -> Iterator[Prediction]:
        """Predictions in input order; the model is in evaluation mode meanwhile.

        Args:
            posts: Any number of them.
            options: How to predict.
            pictures: What makes the parts of their pictures; the model's own when not given.

        Raises:
            InputError: If the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise InputError("this model has no tokenizer; load it with dpe_mner.load(...)")
        convention_number(options.convention, self.conventions)
        posts = with_convention(posts, options.convention)
        was_training = self.training
        if was_training:  # asked of every module, which takes its time on a single post
            self.eval()
        try:
            yield from Predictor(self, self.tokenizer, pictures or self.pictures)(posts, options)
        finally:
            if was_training:
                self.train()


def _portable(encoder: dict[str, Any]) -> dict[str, Any]:
    """An encoder's configuration without the place it was loaded from, which means nothing elsewhere."""
    return {key: value for key, value in encoder.items() if key != "_name_or_path"}


def _image(part: ImageFeatures | None) -> tuple[Tensor, Tensor] | None:
    return None if part is None else (part.features, part.mask)
