"""How much each text position draws from each visual one in eq. 5: attention followed along its paths.

Attention rollout (Abnar and Zuidema 2020) restricted to the ways vision can take. For explanations only; the forward
pass does not need it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpe_mner.fusion.attention import TransformerLayer
from dpe_mner.fusion.bottleneck import BottleneckTransformer
from dpe_mner.fusion.direct import DirectTransformer


def attention_weights(
    layer: TransformerLayer, states: Tensor, mask: Tensor, scale: Tensor | None = None, odds: Tensor | None = None
) -> Tensor:
    """Mean attention of a layer's heads. *Shape:* (B, L, L)."""
    normed = layer.norm(states)
    if scale is not None:
        normed = normed * scale.to(normed.dtype)[..., None]
    attention = layer.attention
    B, L, h = normed.shape
    size = h // attention.heads
    q = attention.query(normed).view(B, L, attention.heads, size).transpose(1, 2)
    k = attention.key_value(normed).view(B, L, 2 * attention.heads, size).transpose(1, 2)[:, : attention.heads]
    logits = (q @ k.transpose(-1, -2)).float() / size**0.5
    if odds is not None:
        logits = logits + odds.log()[:, None, None, :]
    return logits.masked_fill(~mask[:, None, None, :], float("-inf")).softmax(-1).mean(1)


def visual_rollout(
    exchange: nn.Module,
    text: Tensor,
    text_mask: Tensor,
    visual: Tensor,
    visual_mask: Tensor,
    *,
    scale: Tensor | None = None,
    odds: Tensor | None = None,
) -> Tensor:
    """Share of each visual position in what each text position received, summing to 1 over the visual ones.

    Args:
        exchange: What computes eq. 5; the other arguments are those of its ``forward``.
        text: x_i. *Shape:* (B, L, h)
        text_mask: *Shape:* (B, L)
        visual: y_j and y_jt side by side. *Shape:* (B, V, h)
        visual_mask: *Shape:* (B, V)
        scale: *Shape:* (B, V)
        odds: *Shape:* (B, V)

    Returns:
        *Shape:* (B, L, V); zero where nothing visual is present.
    """
    ones = text_mask.new_ones(text_mask.shape, dtype=visual.dtype)
    if isinstance(exchange, DirectTransformer):
        beside = [None if part is None else torch.cat([ones, part], dim=1) for part in (scale, odds)]
        received = _direct(exchange, text, torch.cat([text_mask, visual_mask], dim=1), visual, *beside)
    else:
        assert isinstance(exchange, BottleneckTransformer)
        received = _bottleneck(exchange, text, text_mask, visual, visual_mask, scale, odds)
    received = received * visual_mask[:, None]
    return received / received.sum(-1, keepdim=True).clamp(min=1e-12)


def _direct(
    exchange: DirectTransformer, text: Tensor, mask: Tensor, visual: Tensor, scale: Tensor | None, odds: Tensor | None
) -> Tensor:
    B, L, _ = text.shape
    V = visual.shape[1]
    held = text.new_zeros(B, L + V, V, dtype=torch.float32)  # what each position holds of each visual one
    held[:, L:] = torch.eye(V, device=text.device)
    for layer in exchange.layers:
        assert isinstance(layer, TransformerLayer)
        states = torch.cat([text, visual], dim=1)
        drawn = attention_weights(layer, states, mask, scale, odds)[:, :L] @ held
        held = torch.cat([held[:, :L] + drawn, held[:, L:]], dim=1)
        text = layer(states, mask, scale, odds=odds, wanted=slice(L))
    return held[:, :L]


def _bottleneck(
    mbt: BottleneckTransformer,
    text: Tensor,
    text_mask: Tensor,
    visual: Tensor,
    visual_mask: Tensor,
    scale: Tensor | None,
    odds: Tensor | None,
) -> Tensor:
    B, L, _ = text.shape
    V, tokens = visual.shape[1], mbt.bottleneck.shape[1]
    bottleneck = mbt.bottleneck.to(text.dtype).expand(B, -1, -1)
    open_tokens = text_mask.new_ones(B, tokens)
    text_mask = torch.cat([text_mask, open_tokens], dim=1)
    visual_mask = torch.cat([visual_mask, open_tokens], dim=1)
    beside = [None if part is None else torch.cat([part, part.new_ones(B, tokens)], dim=1) for part in (scale, odds)]
    in_text = text.new_zeros(B, L + tokens, V, dtype=torch.float32)
    in_visual = torch.zeros(B, V + tokens, V, device=text.device)
    in_visual[:, :V] = torch.eye(V, device=text.device)
    for depth, text_layer in enumerate(mbt.text_layers):
        assert isinstance(text_layer, TransformerLayer)
        states = torch.cat([text, bottleneck], dim=1)
        in_text = in_text + attention_weights(text_layer, states, text_mask) @ in_text
        text, from_text = text_layer(states, text_mask).split([L, tokens], dim=1)
        if depth == len(mbt.visual_layers):
            break
        visual_layer = mbt.visual_layers[depth]
        assert isinstance(visual_layer, TransformerLayer)
        if mbt.order == "text-first":
            bottleneck = from_text
            in_visual = torch.cat([in_visual[:, :V], in_text[:, L:]], dim=1)
        states = torch.cat([visual, bottleneck], dim=1)
        weights = attention_weights(visual_layer, states, visual_mask, *beside)
        in_visual = in_visual + weights @ in_visual
        read = visual_layer(states, visual_mask, beside[0], odds=beside[1])
        visual, from_visual = read.split([V, tokens], dim=1)
        both = mbt.order == "parallel"
        bottleneck = (from_text + from_visual) / 2 if both else from_visual
        shared = (in_text[:, L:] + in_visual[:, V:]) / 2 if both else in_visual[:, V:]
        in_text = torch.cat([in_text[:, :L], shared], dim=1)
        in_visual = torch.cat([in_visual[:, :V], shared], dim=1)
    return in_text[:, :L]
