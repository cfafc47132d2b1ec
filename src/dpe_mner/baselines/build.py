"""A baseline with its tokenizer, by name: new for training, or assembled around weights to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from dpe_mner.baselines.bert_crf import BertCrf
from dpe_mner.baselines.bert_tag import BertTag
from dpe_mner.baselines.bilstm import BilstmCrf
from dpe_mner.baselines.glove import read_glove
from dpe_mner.baselines.network import Baseline, pretrained_text_encoder
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.span import BertSpan
from dpe_mner.baselines.vocabulary import Vocabulary
from dpe_mner.errors import InputError, nearest
from dpe_mner.representations.text import TextEncoder
from dpe_mner.representations.tokenizer import load_tokenizer
from dpe_mner.representations.windows import WindowTokenizer, piece_limit
from dpe_mner.settings import EncoderSettings, Section
from dpe_mner.types import Post

Kind = Literal["bilstm-crf", "bert-tag", "bert-crf", "bert-span"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_WITH_ENCODER: dict[str, type[BertTag | BertCrf | BertSpan]] = {
    "bert-tag": BertTag,
    "bert-crf": BertCrf,
    "bert-span": BertSpan,
}


class Description(Section):
    """What a baseline is apart from its weights and its encoder's configuration."""

    kind: Kind
    labels: list[str]
    settings: BaselineSettings = BaselineSettings()
    encoder: EncoderSettings = EncoderSettings()
    threshold: float = Field(default=0.0, ge=0, le=1, description="least score of an entity, chosen on validation")

    @property
    def classes(self) -> int:
        """C: the labels and "no entity"."""
        return len(self.labels) + 1

    @property
    def has_encoder(self) -> bool:
        """Whether it reads word pieces with a pretrained encoder."""
        return self.kind != "bilstm-crf"


@dataclass(frozen=True)
class BuiltBaseline:
    """A baseline and what turns posts into its windows."""

    description: Description
    model: Baseline
    tokenizer: WindowTokenizer

    @property
    def parameters(self) -> int:
        """How many numbers it learns."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def known_kind(kind: str) -> Kind:
    """The kind of that name.

    Raises:
        InputError: If there is none, naming the nearest.
    """
    if kind not in KINDS:
        raise InputError(f"unknown baseline {kind!r}{nearest(kind, KINDS)}; known baselines: {', '.join(KINDS)}")
    return kind


def new_baseline(description: Description, *, encoder: str, posts: Sequence[Post]) -> BuiltBaseline:
    """A baseline to train.

    Args:
        description: Kind, labels and settings.
        encoder: Hub id or folder; BiLSTM-CRF reads none.
        posts: Training posts; BiLSTM-CRF takes its words from them.

    Raises:
        InputError: If encoder or word vectors cannot be read.
    """
    if description.has_encoder:
        text_encoder = pretrained_text_encoder(encoder, description.encoder)
        return with_encoder(description, load_tokenizer(encoder), text_encoder)
    chosen = description.settings.bilstm
    given = None
    if chosen.glove is not None:
        given = read_glove(chosen.glove, width=chosen.word_size, limit=chosen.glove_words, lowercase=chosen.lowercase)
    vocabulary = Vocabulary(posts, lowercase=chosen.lowercase, others=given.words if given is not None else ())
    built = with_words(description, vocabulary.tokenizer, vocabulary.rare(chosen.rare_count))
    if given is not None:
        assert isinstance(built.model, BilstmCrf)
        numbers = torch.tensor([vocabulary.numbers[word] for word in given.words])
        built.model.load_words(numbers, torch.from_numpy(given.vectors))
    return built


def with_encoder(description: Description, tokenizer: Any, text_encoder: TextEncoder) -> BuiltBaseline:
    """BERT-Tag, BERT-CRF or BERT-Span around an encoder."""
    make = _WITH_ENCODER[description.kind]
    model = make(text_encoder, classes=description.classes, settings=description.settings)
    limit = piece_limit(text_encoder.encoder.config)
    return BuiltBaseline(description, model, WindowTokenizer(tokenizer, description.encoder, max_pieces=limit))


def with_words(description: Description, tokenizer: Any, rare: Tensor) -> BuiltBaseline:
    """BiLSTM-CRF around a tokenizer of whole words; ``rare`` is True at rare words. *Shape:* (words,)."""
    unknown = tokenizer.unk_token_id
    model = BilstmCrf(rare, unknown=unknown, classes=description.classes, settings=description.settings.bilstm)
    # A piece is a word here: nothing splits it, and the window alone limits a post.
    windows = description.encoder.model_copy(update={"split_compounds": False})
    words = WindowTokenizer(tokenizer, windows, max_pieces=windows.window_words, characters=True)
    return BuiltBaseline(description, model, words)
