"""x_t, x_g from the post, and y_ct, y_ft from caption and tags: one encoder for all (2.2.1, 2.2.2)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dpe_mner.errors import InputError
from dpe_mner.representations.batch import Batch, PieceBatch
from dpe_mner.representations.bert import BertEncoder, Prefix
from dpe_mner.representations.word_shapes import SHAPES
from dpe_mner.settings import EncoderSettings

_AT_ONCE = frozenset({"cpu"})  # devices that nobody waits for when they are asked for a value
_FULL_ATTENTION = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})


@dataclass(frozen=True)
class TextStates:
    """Token and sentence representation. *Shapes:* x_t (B, M, e), word_mask (B, M), x_g (B, 1, e)."""

    x_t: Tensor
    word_mask: Tensor
    x_g: Tensor


class TextEncoder(nn.Module):
    """Any BERT-like encoder, its pieces pooled to words.

    Args:
        encoder: The encoder, called as transformers' models are.
        settings: Word shapes, and how captions are read.
        conventions: Annotation conventions that posts are read by; with fewer than two there is nothing to tell apart.
    """

    encoder: Any

    def __init__(self, encoder: nn.Module, settings: EncoderSettings, *, conventions: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        input_width = self.encoder.get_input_embeddings().embedding_dim  # ELECTRA's is narrower than its states
        self.shapes = nn.Embedding(SHAPES, input_width, padding_idx=0) if settings.word_shapes else None
        if self.shapes is not None:
            nn.init.zeros_(self.shapes.weight)
        self.conventions = nn.Embedding(conventions, input_width) if conventions > 1 else None
        if self.conventions is not None:
            nn.init.zeros_(self.conventions.weight)

    def load_encoder(self, pretrained: nn.Module) -> None:
        """Take the weights of a pretrained encoder of the same configuration."""
        weights = {k: v for k, v in pretrained.state_dict().items() if not k.startswith("pooler.")}
        self.encoder.load_state_dict(weights)

    @property
    def width(self) -> int:
        """Width e of the encoder's states."""
        return int(self.encoder.config.hidden_size)

    def embed(self, *parts: PieceBatch) -> list[Tensor]:
        """Embedded pieces of several texts, in one lookup: the gradient of each is as large as the whole table.

        Returns:
            For each part *Shape:* (B, S, e)
        """
        embedded = self.encoder.get_input_embeddings()(torch.cat([part.ids.flatten() for part in parts]))
        if self.shapes is not None:
            embedded = embedded + self.shapes(torch.cat([part.shapes.flatten() for part in parts]))
        split = embedded.split([part.ids.numel() for part in parts])
        return [states.view(*part.ids.shape, -1) for states, part in zip(split, parts, strict=True)]

    def states(
        self, pieces: PieceBatch, embedded: Tensor, *, layers: int | None = None, prefix: Prefix | None = None
    ) -> Tensor:
        """Hidden states after the last layer, or after the first ``layers``; zero on rows without a piece.

        Args:
            pieces: Of one text a post.
            embedded: What :meth:`embed` makes of them. *Shape:* (B, S, e)
            layers: How many; all when not given.
            prefix: Extra keys and values of every layer; only our own :class:`BertEncoder` takes them.

        Returns:
            *Shape:* (B, S, e)
        """
        extra = {} if prefix is None else {"prefix": prefix}
        encoder = first_layers(self.encoder, layers)
        # An empty row (no caption) still needs one open key: attention over nothing is not a number.
        mask = pieces.mask.clone()
        mask[:, 0] = True
        output = encoder(inputs_embeds=embedded, attention_mask=attention_mask(self.encoder, mask), **extra)
        return output.last_hidden_state * pieces.mask[..., None].to(output.last_hidden_state.dtype)

    def visual_text(self, pieces: PieceBatch, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """y_ct or y_ft before projection, and its mask.

        Word by word (``caption_words``) a name of several pieces is one state, as it is in x_t, and its neighbours are
        words. The words take the first places of the pieces, so the shapes are the same.

        Args:
            pieces: Captions or tags.
            embedded: What :meth:`embed` makes of them. *Shape:* (B, S, e)

        Returns:
            *Shapes:* (B, S, e) and (B, S)
        """
        states = self._states_of_rows_with_pieces(pieces, embedded)
        if not self.settings.caption_words:
            return states, pieces.mask
        S = pieces.mask.shape[1]
        there = torch.arange(S, device=states.device) <= pieces.word_index.amax(1, keepdim=True)
        return pool_pieces(states, pieces.word_index, S), there

    def _states_of_rows_with_pieces(self, pieces: PieceBatch, embedded: Tensor) -> Tensor:
        """States of captions or tags; while training on a CPU nothing is computed for posts that have none.

        A corpus without pictures shares its batches with one that has them. A GPU would wait to learn which rows
        these are, and an exported graph must not depend on it.

        Args:
            pieces: Captions or tags.
            embedded: What :meth:`embed` makes of them. *Shape:* (B, S, e)

        Returns:
            *Shape:* (B, S, e); zero in rows without a piece
        """
        layers = self.settings.caption_layers
        if not self.training or embedded.device.type not in _AT_ONCE:
            return self.states(pieces, embedded, layers=layers)
        there = pieces.mask.any(1).nonzero()[:, 0]
        if len(there) in (0, len(pieces.mask)):
            return self.states(pieces, embedded, layers=layers)
        states = self.states(pieces.rows(there), embedded[there], layers=layers)
        return states.new_zeros(len(pieces.mask), *states.shape[1:]).index_copy(0, there, states)

    def forward(self, batch: Batch, embedded: Tensor | None = None, prefix: Prefix | None = None) -> TextStates:
        """Encode the posts.

        Args:
            batch: B posts.
            embedded: Their embedded pieces, if :meth:`embed` made them with others. *Shape:* (B, S, e)
            prefix: As for :meth:`states`.

        Returns:
            x_t, its mask, and x_g.
        """
        embedded = self.embed(batch.text)[0] if embedded is None else embedded
        if self.conventions is not None:
            embedded = embedded + self.conventions(batch.convention)[:, None]
        states = self.states(batch.text, embedded, prefix=prefix)
        x_t = pool_pieces(states, batch.text.word_index, batch.words)
        return TextStates(x_t=x_t, word_mask=batch.word_mask, x_g=states[:, :1])


def attention_mask(encoder: Any, mask: Tensor) -> Tensor:
    """The mask as an encoder wants it.

    transformers looks into a flat mask whether all of it is open, and a GPU must wait for that answer. Encoders known
    to attend from everywhere to everywhere get the mask of every pair instead, which is taken as it is.

    Args:
        encoder: The encoder.
        mask: True at real pieces. *Shape:* (B, S)

    Returns:
        *Shape:* (B, 1, S, S), or (B, S).
    """
    if isinstance(encoder, BertEncoder):
        return mask
    config = encoder.config
    if config.model_type in _FULL_ATTENTION and config._attn_implementation == "sdpa":
        return mask[:, None, None, :].expand(-1, -1, mask.shape[1], -1)
    return mask.to(torch.long)


def first_layers(encoder: Any, count: int | None) -> nn.Module:
    """The encoder with its first layers only, sharing every weight; made in microseconds, so for each use anew.

    Args:
        encoder: Any encoder that keeps its layers in a list.
        count: Layers to keep; None or as many as there are: the encoder itself.

    Raises:
        InputError: If the encoder keeps its layers otherwise (ALBERT repeats one).
    """
    total = int(encoder.config.num_hidden_layers)
    if count is None or count >= total:
        return encoder
    for path, layers in encoder.named_modules():
        if isinstance(layers, nn.ModuleList) and len(layers) == total:
            return _with_module(encoder, path.split("."), layers[:count])
    raise InputError(
        f"settings.encoder.caption_layers: a {encoder.config.model_type} has no list of {total} layers; leave it out"
    )


def _with_module(module: nn.Module, path: list[str], replacement: nn.Module) -> nn.Module:
    """A shallow copy of a module with one module below it replaced; the original stays as it is."""
    if not path:
        return replacement
    head, *rest = path
    twin = copy.copy(module)
    twin._modules = {**module._modules, head: _with_module(module.get_submodule(head), rest, replacement)}
    return twin


def pool_pieces(states: Tensor, word_index: Tensor, words: int) -> Tensor:
    """Mean of the pieces of every word, as one matrix product.

    Args:
        states: *Shape:* (B, S, e)
        word_index: Word of each piece, -1 for none. *Shape:* (B, S)
        words: M.

    Returns:
        *Shape:* (B, M, e); zero for a word without pieces.
    """
    belongs = word_index[:, None, :] == torch.arange(words, device=states.device)[None, :, None]
    weight = belongs.to(states.dtype)
    return (weight @ states) / weight.sum(-1, keepdim=True).clamp(min=1)
