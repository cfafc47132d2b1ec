"""What the tests of the multimodal systems of Table 1 share: a tiny one of each, with a batch it can read."""

from __future__ import annotations

from dataclasses import replace

import torch
from conftest import LABELS, POSTS

from dpe_mner.baselines.build import BuiltBaseline, Description, new_baseline
from dpe_mner.baselines.settings import BaselineSettings, VisionSizes
from dpe_mner.baselines.systems import SYSTEMS
from dpe_mner.data.words import words_of
from dpe_mner.representations.batch import Batch, ImageFeatures
from dpe_mner.representations.collate import collate
from dpe_mner.settings import EncoderSettings

MULTIMODAL = [kind for kind, system in SYSTEMS.items() if system.reads]
CHANNELS, STAGES, GRID, REGIONS, BLOCKS = 12, [2, 3, 3, 4], 4, 2, 4
SMALL = {
    "dropout": 0.0,
    "bilstm": {"word_size": 12, "character_size": 8, "hidden_size": 16, "dropout": 0.0},
    "adacoatt": {"size": 8},
    # The tiny tokenizer knows letters only, and the tiny encoder 96 places.
    "mner_qg": {"queries": {"PER": "who", "LOC": "where", "ORG": "which", "MISC": "what"}},
    "debiascl": {"layers": 2, "hard_posts": 2},
}


def tiny(kind: str, encoder: str, *, aligned: bool = False, **settings) -> BuiltBaseline:
    torch.manual_seed(3)
    sizes = VisionSizes(coarse=CHANNELS, fine=CHANNELS, stages=STAGES, fine_blocks=BLOCKS)
    description = Description(
        kind=kind,
        labels=LABELS,
        settings=BaselineSettings.model_validate(SMALL | settings),
        encoder=EncoderSettings(word_shapes=True, caption_words=True),
        vision=sizes,
    )
    words = None
    if aligned:
        from dpe_mner.baselines.own_words import type_words

        words = torch.randn(len(type_words(LABELS, {})), CHANNELS)
    return new_baseline(description, encoder=encoder, posts=POSTS, aligned_words=words)


def batch_for(built: BuiltBaseline, posts, *, gold: bool = False, seen=None, multiple: int = 1) -> Batch:
    """Posts with made-up pictures; ``seen`` tells whose are there, all when not given."""
    number = {label: c for c, label in enumerate(LABELS, start=1)}
    windows = [w for i, p in enumerate(posts) for w in built.tokenizer.windows(p, words_of(p), index=i)]
    spans = [[(e.start, e.end - 1, number[e.label]) for e in p.entities or ()] for p in posts] if gold else None
    batch = collate(windows, pad_id=built.tokenizer.pad_id, gold=spans, multiple=multiple)
    there = torch.tensor([True] * len(posts) if seen is None else seen)
    if not there.any():
        return batch
    return with_pictures(batch, there, numbers=[sum(map(ord, p.id)) for p in posts])


def with_pictures(batch: Batch, there, *, numbers) -> Batch:
    """Image features that follow from each post's number alone, so that a post has the same in every batch."""

    def made(blocks: int, salt: int):
        rows = []
        for number in numbers:
            generator = torch.Generator().manual_seed(1000 * salt + number)
            rows.append(torch.randn(blocks, CHANNELS, generator=generator))
        return torch.stack(rows)

    coarse = made(GRID, 1) * there[:, None, None]
    fine = made(REGIONS * BLOCKS, 2) * there[:, None, None]
    mask = there[:, None]
    words = torch.full((len(batch), REGIONS * BLOCKS, 2), -1)
    words[:, :BLOCKS] = 0  # the first region answers to the first word
    counts = torch.stack([torch.arange(len(batch)) + 1.0, torch.arange(len(batch)) + 2.0], dim=-1)
    return replace(
        batch,
        coarse=ImageFeatures(coarse, mask.expand(-1, GRID)),
        fine=ImageFeatures(fine, mask.expand(-1, REGIONS * BLOCKS)),
        fine_words=words,
        objects=torch.where(mask, counts, -1.0),
    )
