"""AMRN, the adaptive multi-modal reasoning network (2.3): from noisy spans to better spans.

What does not depend on the spans is computed once for all reasoning steps (:meth:`prepare`): projections, relevance
of tokens and sentence, x_t^m and x_g^m at every time. Only the span branch and the top layer run inside the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dpe_mner.fusion.attention import set_attention_dropout, start_as_identity
from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.granularity import FusedText, GranularityFusion, VisualGrains
from dpe_mner.fusion.relevance import masked_mean
from dpe_mner.fusion.span_aggregator import SpanAggregator
from dpe_mner.fusion.static import StaticFusion
from dpe_mner.fusion.top import TopLayer
from dpe_mner.fusion.visual import GrainStates, VisualProjection, VisualStates
from dpe_mner.reasoning.heads import EntityHeads, ReasoningOutput
from dpe_mner.reasoning.pooling import MeanAndEndsPooling, MeanPooling
from dpe_mner.representations.text import TextStates
from dpe_mner.settings import GRAINS, GRANULARITIES, FusionSettings, Granularity, Settings
from dpe_mner.spans.time import TimeEmbedding


@dataclass(frozen=True)
class Context:
    """Everything the span loop reads that no span changes.

    Attributes:
        x_t: Words, projected to h. *Shape:* (B, M, h)
        span_words: What spans are pooled from. *Shape:* (B, M or 3M, h)
        word_mask: *Shape:* (B, M)
        x_t_m: x_t^m at each of the K times. *Shape:* (K, B, M, h)
        x_g_m: x_g^m. *Shape:* (K, B, 1, h)
        boundary_words: H_t with tag beliefs. *Shape:* (K, B, M, word_width)
        tags: Tagging logits. *Shape:* (K, B, M, tags)
        table: Logits of the span table. *Shape:* (K, B, M, L, C)
        visual: y_c, y_ct, y_f, y_ft.
        s: sqrt(alpha_t). *Shape:* (K, B)
        time: E_t. *Shape:* (K, B, 1, h)
        relevance: Of tokens and sentence x coarse and fine. *Shape:* (B, 2, 2)
        x_g: Sentence, projected to h. *Shape:* (B, 1, h)
    """

    x_t: Tensor
    span_words: Tensor
    word_mask: Tensor
    x_t_m: Tensor
    x_g_m: Tensor
    boundary_words: Tensor
    tags: Tensor | None
    table: Tensor | None
    visual: VisualGrains
    s: Tensor
    time: Tensor
    relevance: Tensor
    x_g: Tensor

    def rows(self, index: Tensor) -> Context:
        """The context of some of the posts."""
        return Context(
            x_t=self.x_t[index],
            span_words=self.span_words[index],
            word_mask=self.word_mask[index],
            x_t_m=self.x_t_m[:, index],
            x_g_m=self.x_g_m[:, index],
            boundary_words=self.boundary_words[:, index],
            tags=None if self.tags is None else self.tags[:, index],
            table=None if self.table is None else self.table[:, index],
            visual={j: grain.rows(index) for j, grain in self.visual.items()},
            s=self.s[:, index],
            time=self.time[:, index],
            relevance=self.relevance[index],
            x_g=self.x_g[index],
        )


@dataclass(frozen=True)
class SpanPass:
    """One reasoning step: its logits, pooled spans (B, h), span relevance (B, 2) and x_s (B, N, h)."""

    output: ReasoningOutput
    pooled_spans: Tensor
    relevance: Tensor
    x_s: Tensor


class ReasoningNetwork(nn.Module):
    """AMRN.

    Args:
        text_width: Width e of the encoder.
        classes: C.
        settings: All settings.
    """

    def __init__(self, *, text_width: int, classes: int, settings: Settings) -> None:
        super().__init__()
        fusion = settings.fusion
        width = fusion.hidden_size or text_width
        self.settings = settings
        self.width = width
        self.text_projection = nn.Identity() if width == text_width else nn.Linear(text_width, width)
        self.visual_projection = VisualProjection(text_width=text_width, width=width, settings=fusion)

        self.dynamic = fusion.strategy == "dynamic"
        if self.dynamic:
            owners = ("shared",) if fusion.share_bottleneck else GRANULARITIES
            self.bottlenecks = nn.ModuleDict({owner: _bottlenecks(width, fusion) for owner in owners})
            self.fusion = nn.ModuleDict({i: GranularityFusion(width=width, settings=fusion) for i in GRANULARITIES})
        else:
            self.static_fusion = nn.ModuleDict({i: StaticFusion(width=width, settings=fusion) for i in ("t", "g")})
        ends = settings.heads.span_pooling == "mean+ends"
        self.span_projection = MeanAndEndsPooling(width) if ends else MeanPooling()
        self.span_aggregator = SpanAggregator(
            width=width, heads=fusion.heads, ratio=fusion.aggregator_mlp_ratio, dropout=fusion.dropout
        )
        self.time = TimeEmbedding(width)
        self.beliefs = nn.Linear(classes, width, bias=False) if settings.heads.self_conditioning else None
        self.top = TopLayer(width=width, settings=fusion)
        self.heads = EntityHeads(width=width, classes=classes, settings=settings.heads, dropout=fusion.dropout)
        if fusion.attention_dropout is not None:
            set_attention_dropout(self, fusion.attention_dropout)
        start_as_identity(self)
        if self.beliefs is not None:
            nn.init.zeros_(self.beliefs.weight)

    def project_visual(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        images: dict[str, tuple[Tensor, Tensor] | None],
        like: Tensor,
    ) -> VisualGrains:
        """All four visual representations at width h. ``encoded``: y_ct and y_ft; ``images``: y_c and y_f."""
        return {j: self.visual_projection(j, images[j], encoded.get(j), like) for j in GRAINS}

    def prepare(self, text: TextStates, visual: VisualGrains, times: Tensor, s: Tensor) -> Context:
        """Token and sentence branches for K times in one batched pass.

        Args:
            text: x_t and x_g from the encoder.
            visual: Projected vision.
            times: t of each post at each step. *Shape:* (K, B)
            s: sqrt(alpha_t). *Shape:* (K, B)

        Returns:
            The context of the span loop.
        """
        x_t, x_g = self.text_projection(text.x_t), self.text_projection(text.x_g)
        K, B = times.shape
        x_t_m, token_relevance = self._all_times("t", x_t, text.word_mask, visual, s)
        x_g_m, sentence_relevance = self._all_times("g", x_g, text.word_mask[:, :1], visual, s)
        words = x_t_m if self.settings.heads.boundary_words == "x_t^m" else x_t[None]
        boundary_words, tags = self.heads.tag(words)
        table = self.heads.classify_all(boundary_words.flatten(0, 1))
        time = self.time(times.reshape(-1)).reshape(K, B, 1, -1)
        relevance = torch.stack([token_relevance, sentence_relevance], dim=1)
        return Context(
            x_t=x_t,
            span_words=self.span_projection.words(x_t),
            word_mask=text.word_mask,
            x_t_m=x_t_m,
            x_g_m=x_g_m,
            boundary_words=boundary_words.expand(K, -1, -1, -1),
            tags=None if tags is None else tags.expand(K, -1, -1, -1),
            table=None if table is None else table.unflatten(0, words.shape[:2]).expand(K, -1, -1, -1, -1),
            visual=visual,
            s=s,
            time=time,
            relevance=relevance,
            x_g=x_g,
        )

    def forward(self, context: Context, step: int, spans: Tensor, beliefs: Tensor | None) -> SpanPass:
        """One reasoning step.

        Args:
            context: From :meth:`prepare`.
            step: Index k of the time.
            spans: Ends of the current spans, in any order. *Shape:* (B, N, 2)
            beliefs: Type probabilities of the step before, or None at the first. *Shape:* (B, N, C)

        Returns:
            Logits of the next entities.
        """
        x_s = self._span_states(context, step, spans, beliefs)
        span_mask = spans.new_ones(spans.shape[:2], dtype=torch.bool)
        fused = self._fuse_spans(context, step, x_s, span_mask)  # x_s^m
        H_m = self.top(
            fused.states, context.x_t_m[step], context.word_mask, context.x_g_m[step], context.time[step]
        )  # eq. 11-16
        tags = None if context.tags is None else context.tags[step]
        table = None if context.table is None else context.table[step]
        output = self.heads(H_m, spans, context.boundary_words[step], tags, table, context.word_mask)
        return SpanPass(output, masked_mean(x_s, span_mask), fused.relevance, x_s)

    def _span_states(self, context: Context, step: int, spans: Tensor, beliefs: Tensor | None) -> Tensor:
        """x_s: mean pool over the current spans, SpanAggr with x_t, E_t (2.2.1). *Shape:* (B, N, h)."""
        x_s = self.span_projection(context.span_words, spans)
        if self.beliefs is not None and beliefs is not None:
            x_s = x_s + self.beliefs(beliefs.to(x_s.dtype))
        return self.span_aggregator(x_s, context.x_t, context.word_mask) + context.time[step]

    def _fuse_spans(self, context: Context, step: int, x_s: Tensor, span_mask: Tensor) -> FusedText:
        if not self.dynamic:  # Table 3: nothing is fused over spans
            return FusedText(x_s, x_s.new_zeros(x_s.shape[0], 2))
        return self.granularity("s")(x_s, span_mask, context.visual, context.s[step], self.mbt("s"))

    def granularity(self, i: Granularity) -> GranularityFusion:
        """Fuse(x_i, Y)."""
        return cast(GranularityFusion, self.fusion[i])

    def mbt(self, i: Granularity) -> nn.ModuleDict:
        """MBT of each grain for granularity i."""
        return cast(nn.ModuleDict, self.bottlenecks["shared" if "shared" in self.bottlenecks else i])

    def _all_times(
        self, i: Granularity, x: Tensor, mask: Tensor, visual: VisualGrains, s: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x_i^m at all K times as one batch of K * B posts. *Shapes:* (K, B, L, h), (B, 2)."""
        K, B = s.shape
        if not self.dynamic:
            once = self.static_fusion[i](x, mask, visual)
            return once[None].expand(K, -1, -1, -1), x.new_zeros(B, 2)
        repeated = {j: _repeat_grain(grain, K) for j, grain in visual.items()}
        fused = self.granularity(i)(x.repeat(K, 1, 1), mask.repeat(K, 1), repeated, s.reshape(-1), self.mbt(i))
        return fused.states.view(K, B, *x.shape[1:]), fused.relevance.view(K, B, 2)[0]


def _bottlenecks(width: int, fusion: FusionSettings) -> nn.ModuleDict:
    """One MBT a grain; the flat fusion (w/o DMF) has a single one."""
    return nn.ModuleDict(
        {
            j: BottleneckTransformer(
                width=width,
                heads=fusion.heads,
                layers=fusion.bottleneck_layers,
                tokens=fusion.bottleneck_tokens,
                ratio=fusion.mlp_ratio,
                dropout=fusion.dropout,
            )
            for j in (GRAINS if fusion.decompose else ("c",))
        }
    )


def _repeat_grain(grain: GrainStates, times: int) -> GrainStates:
    def repeat(states: VisualStates) -> VisualStates:
        return VisualStates(states.states.repeat(times, 1, 1), states.mask.repeat(times, 1))

    return GrainStates(image=repeat(grain.image), image2text=repeat(grain.image2text))
