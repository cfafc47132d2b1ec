"""A tiny encoder for made-up posts, and a plain training loop: one task is learned in well under a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dpe_mner.bench.vision.made_up import LABELS, VOCABULARY, Posed
from dpe_mner.checkpoints.config import DPEMNERConfig
from dpe_mner.model import DPEMNERModel
from dpe_mner.pictures.kinds import PictureParts
from dpe_mner.pictures.source import Illustrated
from dpe_mner.predictor import features_of
from dpe_mner.representations.collate import collate
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.settings import Settings
from dpe_mner.training.examples import Example, make_examples
from dpe_mner.types import Post

BATCH, RATE, WARM_UP, CLIP = 32, 1e-3, 0.1, 1.0
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class GivenParts:
    """Parts of pictures that are at hand already, by the id of the post; the model reads them as a picture's."""

    parts: Mapping[str, PictureParts]

    def __call__(self, posts: Sequence[Post]) -> list[Illustrated]:
        """Each post with its parts."""
        return [Illustrated(post, self.of(post)) for post in posts]

    def of(self, post: Post) -> PictureParts:
        """The parts of one post."""
        return self.parts.get(post.id or "", PictureParts())


def tiny_model(settings: Settings, *, seed: int, words: Sequence[str] = VOCABULARY) -> DPEMNERModel:
    """A model on a random BERT of 2 layers, width 64, 4 heads, with a vocabulary of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    numbers = {word: k for k, word in enumerate([*_SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))  # noqa: S106 (no password)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    encoder = BertConfig(
        vocab_size=len(numbers),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=96,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = DPEMNERConfig(encoder=encoder.to_dict(), settings=settings, labels=list(LABELS))
        model = DPEMNERModel(config)
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    model.attach_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named))
    return model


def learn(
    model: DPEMNERModel,
    posed: Posed,
    *,
    epochs: int,
    seed: int,
    after_epoch: Callable[[int], object] = lambda epoch: None,
) -> None:
    """Train a model: AdamW at 1e-3, warm-up and decay, batch 32, gradients clipped.

    Args:
        model: From :func:`tiny_model`.
        posed: What to learn.
        epochs: Passes over the training posts.
        seed: Of order and noise.
        after_epoch: Called with the number of each finished epoch.
    """
    assert model.tokenizer is not None
    examples = make_examples(posed.train, model.tokenizer, model.config.label_names)
    features = [features_of(GivenParts(posed.parts).of(posed.train[e.window.post])) for e in examples]
    steps = epochs * -(-len(examples) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / (WARM_UP * steps), (steps - k) / ((1 - WARM_UP) * steps))
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from it
        for epoch in range(1, epochs + 1):
            model.train()
            order = torch.randperm(len(examples), generator=generator).tolist()
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                batch = _batch([examples[k] for k in chosen], [features[k] for k in chosen])
                model(batch, generator).loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            model.eval()
            after_epoch(epoch)


def _batch(examples: Sequence[Example], features: Sequence[PostFeatures]) -> Any:
    windows = [example.window for example in examples]
    return collate(windows, pad_id=0, gold=[example.gold for example in examples], images=features)


def exchanged_with_next(posts: Sequence[Post], parts: Mapping[str, PictureParts]) -> tuple[list[Post], GivenParts]:
    """Every post with the caption, tags and picture of the next one."""
    others = [*posts[1:], *posts[:1]]
    moved = [replace(post, caption=other.caption, tags=other.tags) for post, other in zip(posts, others, strict=True)]
    swapped = {p.id or "": parts[o.id or ""] for p, o in zip(posts, others, strict=True) if (o.id or "") in parts}
    return moved, GivenParts(swapped)
