"""AMRN, the adaptive multi-modal reasoning network (2.3): from noisy spans to better spans.

What does not depend on the spans is computed once for all reasoning steps (:meth:`prepare`): projections, relevance
of tokens and sentence, x_t^m and x_g^m at every time. Only the span branch and the top layer run inside the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from dpe_mner.diffusion.time import TimeEmbedding
from dpe_mner.fusion.attention import set_attention_dropout
from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.direct import DirectTransformer
from dpe_mner.fusion.relevance import PairRelevance, masked_mean
from dpe_mner.fusion.span_aggregator import SpanAggregator
from dpe_mner.fusion.static import StaticFusion
from dpe_mner.fusion.text_level import FusedText, TextLevelFusion, VisualGrains
from dpe_mner.fusion.top import TopLayer
from dpe_mner.fusion.visual import GrainStates, VisualProjection, VisualStates
from dpe_mner.reasoning.auxiliary import WordTagger
from dpe_mner.reasoning.found import Found, FoundEmbedding
from dpe_mner.reasoning.heads import HEADS, ReasoningOutput
from dpe_mner.reasoning.pooling import mean_weights
from dpe_mner.reasoning.unannotated import fold_classes, tag_classes
from dpe_mner.representations.text import TextStates
from dpe_mner.settings import GRAINS, FusionSettings, Settings, TextLevel


@dataclass(frozen=True)
class Context:
    """Everything the span loop reads that no span changes.

    Attributes:
        x_t: Words, projected to h. *Shape:* (B, M, h)
        x_g: Sentence, projected to h. *Shape:* (B, 1, h)
        span_words: What spans are pooled from. *Shape:* (B, M or 3M, h)
        word_mask: *Shape:* (B, M)
        x_t_m: x_t^m at each of the K times. *Shape:* (K, B, M, h)
        x_g_m: x_g^m. *Shape:* (K, B, 1, h)
        visual: y_c, y_ct, y_f, y_ft.
        s: sqrt(alpha_t). *Shape:* (K, B)
        time: E_t. *Shape:* (K, B, 1, h)
        relevance: Of tokens and sentence x coarse and fine, at the first of the times (it is
            another where a weight of eq. 3 is exactly 0). *Shape:* (B, 2, 2)
        unannotated: Classes that a post's convention does not annotate; None when all annotate all. *Shape:* (B, C)
    """

    x_t: Tensor
    x_g: Tensor
    span_words: Tensor
    word_mask: Tensor
    x_t_m: Tensor
    x_g_m: Tensor
    visual: VisualGrains
    s: Tensor
    time: Tensor
    relevance: Tensor
    unannotated: Tensor | None = None


@dataclass(frozen=True)
class SpanPass:
    """One reasoning step.

    Attributes:
        output: Its logits.
        relevance: Of each span and the coarse and fine grain. *Shape:* (B, N, 2)
        x_s: *Shape:* (B, N, h)
        ends: Ends of the spans it started from, in any order. *Shape:* (B, N, 2)
    """

    output: ReasoningOutput
    relevance: Tensor
    x_s: Tensor
    ends: Tensor


class ReasoningNetwork(nn.Module):
    """AMRN.

    Args:
        text_width: Width e of the encoder.
        classes: C.
        settings: All settings.
    """

    def __init__(self, *, text_width: int, classes: int, settings: Settings) -> None:
        super().__init__()
        fusion, variant = settings.fusion, HEADS[settings.heads.variant]
        width = fusion.hidden_size or text_width
        self.levels = fusion.levels
        self.width = width
        self.text_projection = nn.Identity() if width == text_width else nn.Linear(text_width, width)
        self.visual_projection = VisualProjection(text_width=text_width, width=width, settings=fusion)
        self.visual_projection.start_as(self.text_projection)
        self.dynamic = fusion.strategy == "dynamic"
        if self.dynamic:
            self.exchanges = _exchanges(width, fusion)
            self.fusion = nn.ModuleDict(
                {i: TextLevelFusion(width=width, settings=fusion, each=i == "s") for i in fusion.levels}
            )
        else:
            self.static_fusion = nn.ModuleDict(
                {i: StaticFusion(width=width, settings=fusion) for i in fusion.levels if i != "s"}
            )
        self.span_projection = variant.pooling(width)
        self.span_aggregator = SpanAggregator(
            width=width,
            heads=fusion.heads,
            ratio=fusion.aggregator_mlp_ratio,
            dropout=fusion.dropout,
            reach=fusion.relative_positions,
        )
        self.time = TimeEmbedding(width)
        self.found = FoundEmbedding(width=width, classes=classes) if settings.heads.self_conditioning else None
        self.top = TopLayer(width=width, settings=fusion)
        self.words_with_vision = variant.words_with_vision and fusion.token_level
        self.heads = variant(width=width, classes=classes, dropout=fusion.dropout)
        tagging = settings.loss.tagging > 0
        self.tagger = WordTagger(width=width, classes=classes, dropout=fusion.dropout) if tagging else None
        if fusion.attention_dropout is not None:
            set_attention_dropout(self, fusion.attention_dropout)

    def project_visual(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        images: dict[str, tuple[Tensor, Tensor] | None],
        like: Tensor,
    ) -> VisualGrains:
        """All four visual representations at width h. ``encoded``: y_ct and y_ft; ``images``: y_c and y_f."""
        return {j: self.visual_projection(j, images[j], encoded.get(j), like) for j in GRAINS}

    def prepare(
        self, text: TextStates, visual: VisualGrains, times: Tensor, s: Tensor, unannotated: Tensor | None = None
    ) -> Context:
        """Token and sentence branches for K times in one batched pass.

        Args:
            text: x_t and x_g from the encoder.
            visual: Projected vision.
            times: t of each post at each step. *Shape:* (K, B)
            s: sqrt(alpha_t). *Shape:* (K, B)
            unannotated: Classes that a post's convention does not annotate. *Shape:* (B, C)

        Returns:
            The context of the span loop.
        """
        x_t, x_g = self.text_projection(text.x_t), self.text_projection(text.x_g)
        K, B = times.shape
        x_t_m, token_relevance = self._all_times("t", x_t, text.word_mask, visual, s)
        x_g_m, sentence_relevance = self._all_times("g", x_g, text.word_mask[:, :1], visual, s)
        return Context(
            x_t=x_t,
            x_g=x_g,
            span_words=self.span_projection.words(x_t),
            word_mask=text.word_mask,
            x_t_m=x_t_m,
            x_g_m=x_g_m,
            visual=visual,
            s=s,
            time=self.time(times.reshape(-1)).reshape(K, B, 1, -1),
            relevance=torch.stack([token_relevance, sentence_relevance], dim=1),
            unannotated=unannotated,
        )

    def forward(self, context: Context, step: int, ends: Tensor, found: Found | None = None) -> SpanPass:
        """One reasoning step.

        Args:
            context: From :meth:`prepare`.
            step: Index k of the time.
            ends: Ends of the current spans, in any order. *Shape:* (B, N, 2)
            found: What the step before found; None at the first.

        Returns:
            Logits of the next entities.
        """
        time, mask = context.time[step], context.word_mask
        x_s = self.span_projection(context.span_words, ends)  # x_s0
        x_t, x_t_m = context.x_t, context.x_t_m[step]
        if self.found is not None and found is not None:
            written = self.found.words(found.words.to(x_t.dtype))
            x_s = x_s + self.found.types(found.types.to(x_t.dtype)) + mean_weights(ends, mask.shape[1]) @ written
            x_t, x_t_m = x_t + written, x_t_m + written
        x_s = self.span_aggregator(x_s, x_t, mask, ends) + time
        fused = self._fuse_spans(context, step, x_s)  # x_s^m
        H_m = self.top(fused.states, x_t_m, mask, context.x_g_m[step], time, ends)  # eq. 11-16
        words = context.x_t_m[step] if self.words_with_vision else context.x_t
        output = self.heads(H_m, ends, words, mask)  # 2.3.2
        if context.unannotated is not None:
            output = replace(output, types=fold_classes(output.types, context.unannotated[:, None]))
        return SpanPass(output, fused.relevance, x_s, ends)

    def tag(self, context: Context) -> Tensor | None:
        """Logits of the auxiliary tags of the words, of x_t^m where there is one. *Shape:* (K, B, M, tags)."""
        if self.tagger is None:
            return None
        words = context.x_t_m if "t" in self.levels else context.x_t[None]
        tags = cast(Tensor, self.tagger(words))
        if context.unannotated is None:
            return tags
        return fold_classes(tags, tag_classes(context.unannotated)[None, :, None])

    def pair_relevance(self, context: Context, passes: Sequence[SpanPass]) -> dict[TextLevel, list[PairRelevance]]:
        """Relevance of every text of a batch and every picture (eq. 17 and 18), at each text level and grain.

        Args:
            context: Words, sentence and vision.
            passes: For the spans.

        Returns:
            For each level, each grain that is there and each text; nothing with a static fusion.
        """
        if not self.dynamic:
            return {}
        texts: dict[TextLevel, list[Tensor]] = {
            "t": [masked_mean(context.x_t, context.word_mask)],
            "g": [context.x_g.squeeze(1)],
            "s": [step.x_s for step in passes],
        }
        seen = {
            j: grain
            for j, grain in context.visual.items()
            if grain.image.mask.shape[1] + grain.image2text.mask.shape[1]
        }
        return {
            i: [
                self.text_level(i).gate(j).pairs(x, grain.pooled, grain.present)
                for j, grain in seen.items()
                for x in texts[i]
            ]
            for i in self.levels
        }

    def _fuse_spans(self, context: Context, step: int, x_s: Tensor) -> FusedText:
        if not self.dynamic or "s" not in self.levels:  # Table 3: nothing is fused over spans
            return FusedText(x_s, x_s.new_zeros(*x_s.shape[:2], 2))
        span_mask = x_s.new_ones(x_s.shape[:2], dtype=torch.bool)
        return self.text_level("s")(x_s, span_mask, context.visual, context.s[step], self.exchanges)

    def text_level(self, i: TextLevel) -> TextLevelFusion:
        """Fuse(x_i, Y)."""
        return cast(TextLevelFusion, self.fusion[i])

    def _all_times(
        self, i: TextLevel, x: Tensor, mask: Tensor, visual: VisualGrains, s: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x_i^m at all K times as one batch of K * B posts. *Shapes:* (K, B, L, h), (B, 2)."""
        K, B = s.shape
        if i not in self.levels:  # Table 2: nobody reads it
            return x[None].expand(K, -1, -1, -1), x.new_zeros(B, 2)
        if not self.dynamic:
            once = self.static_fusion[i](x, mask, visual)
            return once[None].expand(K, -1, -1, -1), x.new_zeros(B, 2)
        repeated = {j: _repeat_grain(grain, K) for j, grain in visual.items()}
        fused = self.text_level(i)(x.repeat(K, 1, 1), mask.repeat(K, 1), repeated, s.reshape(-1), self.exchanges)
        return fused.states.view(K, B, *x.shape[1:]), fused.relevance.view(K, B, 2)[0]


def _exchanges(width: int, fusion: FusionSettings) -> nn.ModuleDict:
    """MBT, or what stands for it, of each grain, shared by the text levels; w/o DMF there is a single one."""

    def one() -> nn.Module:
        if fusion.exchange == "direct":
            return DirectTransformer(
                width=width,
                heads=fusion.heads,
                ratio=fusion.mlp_ratio,
                dropout=fusion.dropout,
            )
        return BottleneckTransformer(
            width=width,
            heads=fusion.heads,
            ratio=fusion.mlp_ratio,
            dropout=fusion.dropout,
            order=fusion.bottleneck_order,
        )

    return nn.ModuleDict({j: one() for j in (GRAINS if fusion.decompose else ("c",))})


def _repeat_grain(grain: GrainStates, times: int) -> GrainStates:
    def repeat(states: VisualStates) -> VisualStates:
        return VisualStates(states.states.repeat(times, 1, 1), states.mask.repeat(times, 1))

    return GrainStates(image=repeat(grain.image), image2text=repeat(grain.image2text))
