"""A baseline with its tokenizer, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dpe_mner.baselines.bert_crf import BertCrf
from dpe_mner.baselines.bilstm import BilstmCrf
from dpe_mner.baselines.glove import read_glove
from dpe_mner.baselines.network import Baseline, pretrained_text_encoder
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.span import BertSpan
from dpe_mner.baselines.vocabulary import Vocabulary
from dpe_mner.errors import InputError, nearest
from dpe_mner.representations.pieces import PieceEncoder, load_tokenizer, piece_limit
from dpe_mner.settings import EncoderSettings
from dpe_mner.types import Post

BILSTM_CRF, BERT_CRF, BERT_SPAN = "bilstm-crf", "bert-crf", "bert-span"
KINDS = (BILSTM_CRF, BERT_CRF, BERT_SPAN)


@dataclass(frozen=True)
class BuiltBaseline:
    """A new baseline and what turns posts into its windows."""

    model: Baseline
    pieces: PieceEncoder


def check_kind(kind: str) -> None:
    """Refuse an unknown kind.

    Raises:
        InputError: Naming the nearest known one.
    """
    if kind not in KINDS:
        raise InputError(f"unknown baseline {kind!r}{nearest(kind, KINDS)}; known baselines: {', '.join(KINDS)}")


def build_baseline(
    kind: str,
    *,
    encoder: str,
    posts: Sequence[Post],
    labels: Sequence[str],
    settings: BaselineSettings,
    encoder_settings: EncoderSettings,
) -> BuiltBaseline:
    """A new baseline.

    Args:
        kind: One of ``KINDS``.
        encoder: Hub id or folder; BiLSTM-CRF has none.
        posts: Training posts; BiLSTM-CRF takes its words from them.
        labels: Entity types.
        settings: The baseline's own.
        encoder_settings: Windows and word features, our model's.

    Raises:
        InputError: If the kind is unknown, or encoder or word vectors cannot be read.
    """
    check_kind(kind)
    classes = len(labels) + 1
    if kind == BILSTM_CRF:
        return _bilstm(posts, classes, settings, encoder_settings)
    text_encoder = pretrained_text_encoder(encoder, encoder_settings)
    pieces = PieceEncoder(
        load_tokenizer(encoder), encoder_settings, max_pieces=piece_limit(text_encoder.encoder.config)
    )
    make = BertCrf if kind == BERT_CRF else BertSpan
    return BuiltBaseline(make(text_encoder, classes=classes, settings=settings), pieces)


def _bilstm(
    posts: Sequence[Post], classes: int, settings: BaselineSettings, encoder_settings: EncoderSettings
) -> BuiltBaseline:
    chosen = settings.bilstm
    given = None
    if chosen.glove is not None:
        given = read_glove(chosen.glove, width=chosen.word_size, limit=chosen.glove_words, lowercase=chosen.lowercase)
    vocabulary = Vocabulary(posts, lowercase=chosen.lowercase, others=given.words if given is not None else ())
    rare = vocabulary.rare(chosen.rare_count)
    model = BilstmCrf(rare, unknown=vocabulary.tokenizer.unk_token_id, classes=classes, settings=chosen)
    if given is not None:
        numbers = torch.tensor([vocabulary.numbers[word] for word in given.words])
        model.load_words(numbers, torch.from_numpy(given.vectors))
    # A piece is a word here: nothing splits it, and the window alone limits a post.
    windows = encoder_settings.model_copy(update={"characters": True, "split_compounds": False})
    return BuiltBaseline(model, PieceEncoder(vocabulary.tokenizer, windows, max_pieces=encoder_settings.window_words))
