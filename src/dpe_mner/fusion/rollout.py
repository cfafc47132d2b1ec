"""How much each text position draws from each visual one through MBT: attention followed along its paths.

Attention rollout (Abnar and Zuidema 2020) restricted to the one way vision can take: visual position to bottleneck
token in one layer, bottleneck token to text in a later one. For explanations only; the forward pass does not need it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpe_mner.fusion.attention import TransformerLayer
from dpe_mner.fusion.bottleneck import BottleneckTransformer


def attention_weights(layer: TransformerLayer, states: Tensor, mask: Tensor, scale: Tensor | None) -> Tensor:
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
    return logits.masked_fill(~mask[:, None, None, :], float("-inf")).softmax(-1).mean(1)


def visual_rollout(
    mbt: BottleneckTransformer,
    text: Tensor,
    text_mask: Tensor,
    visual: Tensor,
    visual_mask: Tensor,
    visual_scale: Tensor,
) -> Tensor:
    """Share of each visual position in what each text position received, summing to 1 over the visual ones.

    Args:
        mbt: The transformer of eq. 5.
        text: x_i. *Shape:* (B, L, h)
        text_mask: *Shape:* (B, L)
        visual: y_j and y_jt side by side. *Shape:* (B, V, h)
        visual_mask: *Shape:* (B, V)
        visual_scale: rel^i times the weights of eq. 3. *Shape:* (B, V)

    Returns:
        *Shape:* (B, L, V); zero where nothing visual is present.
    """
    B, L, _ = text.shape
    V, tokens = visual.shape[1], mbt.bottleneck.shape[1]
    bottleneck = mbt.bottleneck.to(text.dtype).expand(B, -1, -1)
    open_tokens = text_mask.new_ones(B, tokens)
    text_mask = torch.cat([text_mask, open_tokens], dim=1)
    visual_mask = torch.cat([visual_mask, open_tokens], dim=1)
    visual_scale = torch.cat([visual_scale, visual_scale.new_ones(B, tokens)], dim=1)
    in_text = text.new_zeros(B, L + tokens, V, dtype=torch.float32)  # what each position holds of each visual one
    in_visual = torch.zeros(B, V + tokens, V, device=text.device)
    in_visual[:, :V] = torch.eye(V, device=text.device)
    for depth, text_layer in enumerate(mbt.text_layers):
        assert isinstance(text_layer, TransformerLayer)
        states = torch.cat([text, bottleneck], dim=1)
        in_text = in_text + attention_weights(text_layer, states, text_mask, None) @ in_text
        text, from_text = text_layer(states, text_mask).split([L, tokens], dim=1)
        if depth < len(mbt.visual_layers):
            visual_layer = mbt.visual_layers[depth]
            assert isinstance(visual_layer, TransformerLayer)
            states = torch.cat([visual, bottleneck], dim=1)
            in_visual = in_visual + attention_weights(visual_layer, states, visual_mask, visual_scale) @ in_visual
            visual, from_visual = visual_layer(states, visual_mask, visual_scale).split([V, tokens], dim=1)
            bottleneck = (from_text + from_visual) / 2
            shared = (in_text[:, L:] + in_visual[:, V:]) / 2
            in_text = torch.cat([in_text[:, :L], shared], dim=1)
            in_visual = torch.cat([in_visual[:, :V], shared], dim=1)
    received = in_text[:, :L] * visual_mask[:, None, :V]
    return received / received.sum(-1, keepdim=True).clamp(min=1e-12)
