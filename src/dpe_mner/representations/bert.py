"""BERT and RoBERTa for loaded checkpoints, layer by layer as transformers computes them, without importing it.

Importing transformers' model classes takes longer than all else that comes before a first answer. Weights have the
same names here, so what is loaded can be saved, exported, and trained on by transformers
(:mod:`dpe_mner.representations.encoders`). Devlin et al. 2019; Liu et al. 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

# Their first position is the one after the padding index.
_ROBERTA = frozenset({"camembert", "roberta", "xlm-roberta"})


@dataclass(frozen=True)
class BertSizes:
    """What of an encoder's configuration shapes these layers; names as in transformers."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    pad_token_id: int

    @classmethod
    def of(cls, encoder: Mapping[str, Any]) -> BertSizes | None:
        """The sizes of an encoder, or None if it is no plain BERT or RoBERTa.

        Args:
            encoder: Its whole configuration.
        """
        plain = (
            encoder.get("model_type") in _ROBERTA | {"bert"}
            and encoder.get("hidden_act") == "gelu"
            and encoder.get("position_embedding_type", "absolute") == "absolute"
            and not encoder.get("is_decoder")
            and not encoder.get("add_cross_attention")
        )
        values = {field.name: encoder.get(field.name) for field in fields(cls)}
        if not plain or any(value is None for value in values.values()):
            return None
        return cls(**values)  # type: ignore[arg-type]  # none of them is None


@dataclass(frozen=True)
class EncoderStates:
    """Hidden states after the last layer, of *Shape:* (B, S, e)."""

    last_hidden_state: Tensor


@dataclass(frozen=True)
class PrefixStates:
    """Keys and values put before the text's own in one layer, as they are: no projection of the layer touches them.

    *Shapes:* keys and values (B, heads, P, e / heads), mask (B, P): True where they may be attended to.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor


class Prefix(Protocol):
    """Extra keys and values for every layer (Li and Liang, 2021), which may depend on the text read so far."""

    def __call__(self, layer: int, states: Tensor) -> PrefixStates:
        """Those of one layer.

        Args:
            layer: From 0.
            states: What the layer reads. *Shape:* (B, S, e)
        """


class SelfAttention(nn.Module):
    """Multi-head attention through PyTorch's fused kernel, up to its last projection."""

    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.heads = sizes.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.dropout = nn.Dropout(sizes.attention_probs_dropout_prob)

    def forward(self, states: Tensor, mask: Tensor | None, prefix: PrefixStates | None = None) -> Tensor:
        """Attend to what the mask leaves open. *Shapes:* (B, S, e), (B, 1, 1, S) -> (B, S, e)."""
        B, S, width = states.shape
        q, k, v = (
            project(states).view(B, S, self.heads, -1).transpose(1, 2) for project in (self.query, self.key, self.value)
        )
        if prefix is not None:
            assert mask is not None
            k, v = torch.cat([prefix.keys, k], dim=2), torch.cat([prefix.values, v], dim=2)
            mask = torch.cat([prefix.mask[:, None, None, :], mask], dim=-1)
        rate = self.dropout.p if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)
        return mixed.transpose(1, 2).reshape(B, S, width)


class AddAndNorm(nn.Module):
    """A last projection, dropout, the way around it, and the norm after all three."""

    def __init__(self, sizes: BertSizes, inner: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, sizes.hidden_size)
        self.LayerNorm = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)
        self.dropout = nn.Dropout(sizes.hidden_dropout_prob)

    def forward(self, update: Tensor, states: Tensor) -> Tensor:
        """Close a block. *Shapes:* (B, S, inner), (B, S, e) -> (B, S, e)."""
        closed: Tensor = self.LayerNorm(self.dropout(self.dense(update)) + states)
        return closed


class BertLayer(nn.Module):
    """Self-attention and a feed-forward block, each with its norm after it."""

    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        width, inner = sizes.hidden_size, sizes.intermediate_size
        self.attention = nn.ModuleDict({"self": SelfAttention(sizes), "output": AddAndNorm(sizes, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = AddAndNorm(sizes, inner)

    def forward(self, states: Tensor, mask: Tensor | None, prefix: PrefixStates | None = None) -> Tensor:
        """One layer. *Shapes:* (B, S, e), (B, 1, 1, S) -> (B, S, e)."""
        states = self.attention["output"](self.attention["self"](states, mask, prefix), states)
        closed: Tensor = self.output(functional.gelu(self.intermediate["dense"](states)), states)
        return closed


class BertEncoder(nn.Module):
    """Called as transformers' models are.

    Args:
        sizes: Of the encoder.
    """

    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.config = sizes
        width = sizes.hidden_size
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(sizes.vocab_size, width, padding_idx=sizes.pad_token_id),
                "position_embeddings": nn.Embedding(sizes.max_position_embeddings, width),
                "token_type_embeddings": nn.Embedding(sizes.type_vocab_size, width),
                "LayerNorm": nn.LayerNorm(width, eps=sizes.layer_norm_eps),
                "dropout": nn.Dropout(sizes.hidden_dropout_prob),
            }
        )
        layers = nn.ModuleList(BertLayer(sizes) for _ in range(sizes.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.embeddings["word_embeddings"]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        prefix: Prefix | None = None,
    ) -> EncoderStates:
        """Encode pieces.

        Args:
            input_ids: *Shape:* (B, S)
            attention_mask: True or 1 at real pieces; every row needs one. *Shape:* (B, S)
            inputs_embeds: Embedded pieces, instead of ``input_ids``. *Shape:* (B, S, e)
            prefix: Extra keys and values of every layer; needs ``attention_mask``.
        """
        states = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        first = self.config.pad_token_id + 1 if self.config.model_type in _ROBERTA else 0
        positions = torch.arange(first, first + states.shape[1], device=states.device)
        states = states + self.embeddings["token_type_embeddings"](torch.zeros_like(positions))
        states = states + self.embeddings["position_embeddings"](positions)
        states = self.embeddings["dropout"](self.embeddings["LayerNorm"](states))
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        layers: Any = self.encoder["layer"]
        for number, layer in enumerate(layers):
            states = layer(states, mask, None if prefix is None else prefix(number, states))
        return EncoderStates(states)
