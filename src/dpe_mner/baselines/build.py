"""A system of Table 1 with its tokenizer, by name: new for training, or assembled around weights to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from dpe_mner.baselines.bilstm import BilstmCrf
from dpe_mner.baselines.glove import read_glove
from dpe_mner.baselines.mner_qg import MnerQg
from dpe_mner.baselines.network import Baseline, Parts
from dpe_mner.baselines.settings import BaselineSettings, VisionSizes
from dpe_mner.baselines.systems import KINDS, SYSTEMS, System, known_kind
from dpe_mner.baselines.vocabulary import Vocabulary
from dpe_mner.errors import InputError
from dpe_mner.representations.bert import BertEncoder, BertSizes
from dpe_mner.representations.encoders import load_pretrained, new_encoder
from dpe_mner.representations.text import TextEncoder
from dpe_mner.representations.tokenizer import load_tokenizer
from dpe_mner.representations.windows import WindowTokenizer, piece_limit
from dpe_mner.settings import EncoderSettings, PictureSettings, Section
from dpe_mner.types import Post

__all__ = ["KINDS", "BuiltBaseline", "Description", "known_kind", "new_baseline", "with_encoder", "with_words"]


class Description(Section):
    """What a system is apart from its weights and its encoder's configuration."""

    kind: str
    labels: list[str]
    settings: BaselineSettings = BaselineSettings()
    encoder: EncoderSettings = EncoderSettings()
    pictures: PictureSettings = PictureSettings()
    vision: VisionSizes = VisionSizes()
    threshold: float = Field(default=0.0, ge=0, le=1, description="least score of an entity, chosen on validation")

    @property
    def system(self) -> System:
        """What it is an instance of."""
        return SYSTEMS[known_kind(self.kind)]

    @property
    def classes(self) -> int:
        """C: the labels and "no entity"."""
        return len(self.labels) + 1

    @property
    def has_encoder(self) -> bool:
        """Whether it reads word pieces with a pretrained encoder."""
        return self.system.text != "words"


@dataclass(frozen=True)
class BuiltBaseline:
    """A system and what turns posts into its windows.

    Attributes:
        description: What it is.
        model: The network.
        tokenizer: Cuts posts into windows.
        encoder_config: Transformers' configuration of its encoder, if it has one.
    """

    description: Description
    model: Baseline
    tokenizer: WindowTokenizer
    encoder_config: Any = None

    @property
    def parameters(self) -> int:
        """How many numbers it learns."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def new_baseline(
    description: Description, *, encoder: str, posts: Sequence[Post], aligned_words: Tensor | None = None
) -> BuiltBaseline:
    """A system to train.

    Args:
        description: Kind, labels and settings.
        encoder: Hub id or folder; systems over numbered words read none.
        posts: Training posts; systems over numbered words take their words from them.
        aligned_words: See :class:`~dpe_mner.baselines.network.Parts`.

    Raises:
        InputError: If encoder or word vectors cannot be read.
    """
    if description.has_encoder:
        config, pretrained = load_pretrained(encoder)
        built = with_encoder(description, load_tokenizer(encoder), config, aligned_words=aligned_words)
        text_encoder = built.model.text_encoder
        assert isinstance(text_encoder, TextEncoder)
        text_encoder.load_encoder(pretrained)
        return built
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


def with_encoder(
    description: Description, tokenizer: Any, config: Any, *, aligned_words: Tensor | None = None
) -> BuiltBaseline:
    """A system around a text encoder with fresh weights.

    Args:
        description: What it is.
        tokenizer: The pretrained one.
        config: Transformers' configuration of the encoder.
        aligned_words: See :class:`~dpe_mner.baselines.network.Parts`.

    Raises:
        InputError: If the encoder takes no prefix and the system needs one.
    """
    parts = Parts(
        kind=description.kind,
        labels=description.labels,
        settings=description.settings,
        vision=description.vision,
        tokenizer=tokenizer,
        encoder=TextEncoder(_encoder(description, config), description.encoder),
        aligned_words=aligned_words,
    )
    model = description.system.make(parts)
    # A query stands before every text, and takes its room.
    limit = piece_limit(config) - (model.query_pieces if isinstance(model, MnerQg) else 0)
    if limit < 8:
        raise InputError(f"{description.kind}: its queries leave no room for a text; shorten mner_qg.queries")
    windows = WindowTokenizer(tokenizer, description.encoder, max_pieces=limit)
    return BuiltBaseline(description, model, windows, config)


def _encoder(description: Description, config: Any) -> torch.nn.Module:
    if description.system.text != "prefix":
        return new_encoder(config)
    sizes = BertSizes.of(config.to_dict())
    if sizes is None:
        raise InputError(
            f"{description.kind} puts a prefix before every layer of a BERT or RoBERTa encoder, and this one is a "
            f"{config.model_type}"
        )
    return BertEncoder(sizes)


def with_words(description: Description, tokenizer: Any, rare: Tensor) -> BuiltBaseline:
    """A system around a tokenizer of whole words; ``rare`` is True at rare words. *Shape:* (words,)."""
    parts = Parts(
        kind=description.kind,
        labels=description.labels,
        settings=description.settings,
        vision=description.vision,
        tokenizer=tokenizer,
        rare=rare,
        unknown=tokenizer.unk_token_id,
    )
    # A piece is a word here: nothing splits it, and the window alone limits a post.
    windows = description.encoder.model_copy(update={"split_compounds": False})
    words = WindowTokenizer(tokenizer, windows, max_pieces=windows.window_words, characters=True)
    return BuiltBaseline(description, description.system.make(parts), words)
