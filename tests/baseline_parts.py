"""What the tests of the text baselines share."""

from __future__ import annotations

from dpe_mner import Post
from dpe_mner.baselines.build import BuiltBaseline
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.systems import SYSTEMS
from dpe_mner.data.words import words_of
from dpe_mner.representations.collate import collate

TEXT_KINDS = [kind for kind, system in SYSTEMS.items() if not system.reads]
TINY = BaselineSettings.model_validate(
    {"dropout": 0.0, "bilstm": {"word_size": 12, "character_size": 8, "hidden_size": 16, "dropout": 0.0}}
)


def quiet(_: str) -> None:
    pass


def words_batch(baseline: BuiltBaseline, words, *, multiple: int = 1, gold=None):
    post = Post(words=words)
    windows = baseline.tokenizer.windows(post, words_of(post))
    return collate(windows, pad_id=baseline.tokenizer.pad_id, multiple=multiple, gold=gold)
