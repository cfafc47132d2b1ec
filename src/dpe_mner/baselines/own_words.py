"""Texts that a system brings itself, beside the posts: words that stand for a type, and queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dpe_mner.representations.batch import PieceBatch

# Written for this package: no system's own lists were found. One word or short phrase each.
TYPE_WORDS: Mapping[str, tuple[str, ...]] = {
    "PER": ("person", "man", "woman", "player", "singer", "team", "suit", "face", "crowd"),
    "LOC": ("location", "city", "street", "building", "mountain", "beach", "map", "stadium"),
    "ORG": ("organization", "company", "team", "club", "logo", "uniform", "office", "sign"),
    "MISC": ("miscellaneous", "event", "film", "game", "product", "poster", "flag", "festival"),
}
QUERIES: Mapping[str, str] = {
    "PER": "person: names of people, singers, players, politicians",
    "LOC": "location: names of cities, countries, streets, buildings",
    "ORG": "organization: names of companies, teams, bands, media",
    "MISC": "miscellaneous: names of events, films, games, products",
}
_SAME = {"OTHER": "MISC", "person": "PER", "location": "LOC", "organization": "ORG"}


def type_words(labels: Sequence[str], given: Mapping[str, Sequence[str]]) -> list[str]:
    """The words of all types, one after the other; a label nobody has words for stands for itself."""
    return [
        word
        for label in labels
        for word in given.get(label, TYPE_WORDS.get(_SAME.get(label, label), (label.replace("_", " ").lower(),)))
    ]


def queries_of(labels: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """A query for each type; a label nobody has one for asks by its name."""
    return [
        given.get(label, QUERIES.get(_SAME.get(label, label), f"{label.replace('_', ' ')}: names of this kind."))
        for label in labels
    ]


class OwnTexts(nn.Module):
    """Pieces of a system's own texts, ready for the encoder; part of its weights, so that a checkpoint has them.

    Args:
        texts: N texts.
        tokenizer: The pretrained one.
        special: Put the special pieces around each.
    """

    ids: Tensor
    mask: Tensor

    def __init__(self, texts: Sequence[str], tokenizer: Any, *, special: bool = True) -> None:
        super().__init__()
        pieces = [tokenizer(f" {text}", add_special_tokens=special)["input_ids"] for text in texts]
        edge = 1 if special else 0
        longest = max(map(len, pieces))
        ids = torch.full((len(pieces), longest), tokenizer.pad_token_id or 0)
        mask, inner = torch.zeros(2, *ids.shape, dtype=torch.bool)
        for row, own in enumerate(pieces):
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = True
            inner[row, edge : len(own) - edge] = True
        self.register_buffer("ids", ids)
        self.register_buffer("mask", mask)
        self.register_buffer("inner", inner)

    inner: Tensor

    def pieces(self) -> PieceBatch:
        """All texts as a batch, every one a single word. *Shapes:* (N, S)."""
        word = torch.where(self.inner, 0, -1)
        return PieceBatch(self.ids, self.mask, word, torch.zeros_like(self.ids))
