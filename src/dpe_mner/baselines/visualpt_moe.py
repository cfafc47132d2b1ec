"""VisualPT-MoE: experts on five views of a picture, mixed into a prefix of every layer (Xu et al., DASFAA 2023).

Read in the authors' code; of the paper the abstract and a figure. Experts: whole picture (y_c), regions (y_f), object
tags (y_ft), caption (y_ct), and a pseudo image of learned vectors; each makes keys and values for 16 positions of
every layer, a router weighs the experts (softly, no top k), and the text attends to the mixture. Each word is tagged
by softmax, without a CRF; a small loss keeps the routing even.

* ``faithful``: the router of a layer sees the experts' own keys and values alone; positions that an expert lacks are
  zeros that count, and a picture's tokens are groups of channels.
* ``repaired``: the router of a layer sees the text as the layer reads it, as the figure has it (the code computes that
  path and drops it); an expert without anything to say has no weight; a token is a place.

Left out of both: the two slips of the code that scramble the router's input and offset text positions. The code's
loss is a sum over the words of a batch; here it is their mean, so that one learning rate serves all batch sizes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dpe_mner.baselines.bert_tag import decode_tags, tag_loss
from dpe_mner.baselines.network import MultimodalBaseline, Parts
from dpe_mner.baselines.prefix import GridTokens, first_pieces, split_heads
from dpe_mner.baselines.vision import Blocks, joined
from dpe_mner.decoding.candidates import Row
from dpe_mner.objective.losses import IGNORED
from dpe_mner.representations.batch import Batch, PieceBatch
from dpe_mner.representations.bert import PrefixStates

_POSITIONS, _INNER, _BALANCE = 16, 1024, 1e-4  # of the code
_NOISE = 1 / 16  # deviation of what training adds to the router's logits
_DROPOUT = 0.1


class VisualPtMoe(MultimodalBaseline):
    """A text encoder with a prefix mixed from experts, and a softmax over tags.

    Args:
        parts: With a text encoder that takes a prefix; of y_c and y_f the sizes where there are any.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        vision = parts.vision
        self.text_encoder = parts.text_encoder
        self.faithful = parts.settings.version == "faithful"
        h = self.text_encoder.width
        self.layers, self.heads, self.width = len(self.text_encoder.encoder.encoder["layer"]), parts.heads, h
        self.grids = {
            name: GridTokens(size, fine_blocks=vision.fine_blocks, by_channel=self.faithful)
            for name, size in (("coarse", vision.coarse), ("fine", vision.fine))
            if size is not None
        }
        inputs = {name: grid.channels for name, grid in self.grids.items()} | {"caption": h, "tags": h, "pseudo": h}
        made = 2 * self.layers * h
        self.experts = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(size, _INNER), nn.Tanh(), nn.Linear(_INNER, made))
                for name, size in inputs.items()
            }
        )
        self.pseudo = nn.Parameter(torch.randn(_POSITIONS, h) * 0.02)
        seen = _POSITIONS * h if self.faithful else h
        self.routers = nn.ModuleList(nn.Linear(seen, len(inputs)) for _ in range(self.layers))
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(h, 2 * (parts.classes - 1) + 1)

    def views(self, batch: Batch) -> list[Blocks]:
        """What each expert reads, 16 positions of it, in the order of the experts."""
        found: dict[str, Blocks] = {}
        for name, grid in self.grids.items():
            pictures = grid.regions(batch) if name == "fine" else []
            if name == "coarse" and batch.coarse is not None:
                pictures = [grid.whole(batch)]
            found[name] = _padded(batch, pictures, grid.channels)
        found["caption"], found["tags"] = (self._text(batch, part) for part in (batch.caption, batch.tags))
        everywhere = torch.ones(len(batch), _POSITIONS, dtype=torch.bool, device=self.pseudo.device)
        found["pseudo"] = Blocks(self.pseudo.expand(len(batch), -1, -1), everywhere)
        return [found[name] for name in self.experts]

    def _text(self, batch: Batch, part: PieceBatch | None) -> Blocks:
        if part is None:
            return _padded(batch, [], self.width)
        embedded = self.text_encoder.encoder.get_input_embeddings()(part.ids)
        return first_pieces(embedded, part.mask, _POSITIONS)

    def prompts(self, views: list[Blocks]) -> Tensor:
        """Keys and values of every expert and layer. *Shape:* (B, experts, positions, layers, 2 h)."""
        made = [
            expert(view.states).unflatten(-1, (self.layers, -1))
            for expert, view in zip(self.experts.values(), views, strict=True)
        ]
        if not self.faithful:
            made = [own * view.mask[..., None, None] for own, view in zip(made, views, strict=True)]
        return torch.stack(made, dim=1)

    def read(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, list[Tensor]]:
        """Words that have read the prefix, and the weights of the experts in every layer.

        Returns:
            *Shapes:* (B, M, e), and for each layer (B, experts).
        """
        views = self.views(batch)
        prompts = self.prompts(views)
        there = torch.stack([view.present for view in views], dim=1)
        routed: list[Tensor] = []

        def prefix(layer: int, states: Tensor) -> PrefixStates:
            own = prompts[:, :, :, layer]
            weights = self.route(layer, own, states[:, 0], there, generator)
            routed.append(weights)
            keys, values = torch.einsum("be,bepw->bpw", weights, own).chunk(2, dim=-1)
            open_ = torch.ones(keys.shape[:2], dtype=torch.bool, device=keys.device)
            return PrefixStates(split_heads(keys, self.heads), split_heads(values, self.heads), open_)

        words: Tensor = self.text_encoder(batch, prefix=prefix).x_t
        return words, routed

    def route(
        self, layer: int, prompts: Tensor, text: Tensor, there: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Weights of the experts in one layer.

        Args:
            layer: From 0.
            prompts: Keys and values of the layer. *Shape:* (B, experts, positions, 2 h)
            text: The first piece's state as the layer reads it. *Shape:* (B, h)
            there: Which experts have anything to say. *Shape:* (B, experts)
            generator: Of the noise that training adds.

        Returns:
            *Shape:* (B, experts), sums of 1.
        """
        if self.faithful:
            keys, values = prompts.chunk(2, dim=-1)
            seen = (keys + values).sum(1).flatten(1)
        else:
            seen = text
        logits = self.routers[layer](seen)
        if self.training:
            noise = torch.empty_like(logits).normal_(generator=generator)
            logits = logits + _NOISE * noise
        if not self.faithful:
            logits = logits.masked_fill(~there, -1e4)
        return logits.softmax(-1)

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """Cross-entropy of the gold tags, and the largest weight of an expert, over layers and posts."""
        assert batch.gold is not None
        words, routed = self.read(batch, generator)
        tagged = (batch.gold.tags != IGNORED).sum().clamp(min=1)
        uneven = torch.stack([weights.amax(-1).sum() for weights in routed]).sum() / tagged
        tags = tag_loss(self.output(self.dropout(words)), batch.gold.tags)
        return {"entities": (1 - _BALANCE) * tags, "balance": _BALANCE * uneven}

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Entities of the likeliest tag of each word."""
        return decode_tags(self.output(self.read(batch)[0]), batch.word_mask)


def _padded(batch: Batch, pictures: list[Blocks], channels: int) -> Blocks:
    """Up to 16 positions of a list of pictures; none of them there when the list is empty."""
    device = batch.lengths.device
    rest = Blocks(
        torch.zeros(len(batch), _POSITIONS, channels, device=device),
        torch.zeros(len(batch), _POSITIONS, dtype=torch.bool, device=device),
    )
    every = joined(*pictures, rest)
    return Blocks(every.states[:, :_POSITIONS], every.mask[:, :_POSITIONS])
