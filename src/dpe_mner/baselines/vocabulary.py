"""Words of the training posts as a tokenizer of whole words, so that BiLSTM-CRF reads ordinary windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, models, normalizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from dpe_mner.data.words import words_of
from dpe_mner.types import Post

PADDING, UNKNOWN = "[PAD]", "[UNK]"


class Vocabulary:
    """Numbers of words: padding 0, unknown 1, the training posts' words, then others.

    Args:
        posts: Training posts.
        lowercase: Look words up in lower case.
        others: Words to know besides, e.g. those of a GloVe file.
    """

    def __init__(self, posts: Iterable[Post], *, lowercase: bool, others: Sequence[str] = ()) -> None:
        steps = [normalizers.Strip(), *([normalizers.Lowercase()] if lowercase else [])]
        normalizer = normalizers.Sequence(steps)
        counted = Counter(word for post in posts for word in words_of(post).words)
        self.counts: Counter[str] = Counter()
        for word, count in counted.items():
            self.counts[normalizer.normalize_str(word)] += count
        del self.counts[""]
        known = dict.fromkeys([PADDING, UNKNOWN, *self.counts, *others])
        self.numbers = {word: number for number, word in enumerate(known)}
        tokenizer = Tokenizer(models.WordLevel(self.numbers, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizer
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PADDING, unk_token=UNKNOWN)

    def __len__(self) -> int:
        return len(self.numbers)

    def rare(self, most: int) -> Tensor:
        """True at words seen from once to ``most`` times in the training posts. *Shape:* (words,)."""
        seen = torch.tensor([self.counts[word] for word in self.numbers])
        return (seen > 0) & (seen <= most)
