"""Does the relevance gate know a post's own captions and tags from another post's?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.evaluation.exchanged import exchangeable, exchanged
from dpe_mner.model import DPEMNERModel
from dpe_mner.predictor import batches_of_like_shape, collate_windows
from dpe_mner.types import Post

Floats = NDArray[np.float64]
LEVELS = ("token", "sentence", "span")
GRAINS = {"captions": "coarse", "tags": "fine"}


@dataclass(frozen=True)
class Gates:
    """rel of each post that has the grain. *Shape:* (P,) for each text level."""

    token: Floats
    sentence: Floats
    span: Floats


def auc(own: Floats, other: Floats) -> float:
    """Chance that an own pair is above another one; ties count half."""
    both = np.concatenate([own, other])
    order = both.argsort(kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    _, group, size = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.bincount(group, ranks) / size)[group]  # equal values share their mean rank
    count = len(own)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(other)))


@torch.inference_mode()
def gates(model: DPEMNERModel, posts: Sequence[Post], grain: str, *, batch_size: int = 64) -> Gates:
    """The gates of the last step, in the order of posts.

    Args:
        model: In evaluation mode, with its tokenizer.
        posts: Each with the grain.
        grain: ``coarse`` or ``fine``.
        batch_size: Posts computed together.
    """
    tokenizer = model.tokenizer
    assert tokenizer is not None
    windows = [tokenizer.windows(post, words_of(post), index=k)[0] for k, post in enumerate(posts)]
    j = ("coarse", "fine").index(grain)
    found = np.zeros((len(LEVELS), len(posts)))
    for batch in batches_of_like_shape(windows, batch_size):
        trace = model.reason(collate_windows(batch, pad_id=tokenizer.pad_id).to(model.device))
        rows = [window.post for window in batch]
        found[:2, rows] = trace.context.relevance[:, :, j].T.double().cpu().numpy()
        found[2, rows] = trace.steps[-1].relevance[..., j].mean(1).double().cpu().numpy()
    return Gates(*found)


@torch.inference_mode()
def encoder_cosines(encoder: Any, tokenizer: Any, texts: Sequence[str], others: Sequence[str]) -> Floats:
    """Cosines of mean-pooled sentences of an encoder as it came, the measuring stick. *Shape:* (P,)."""

    def pooled(sentences: Sequence[str]) -> torch.Tensor:
        rows = []
        for start in range(0, len(sentences), 64):
            chunk = list(sentences[start : start + 64])
            batch = tokenizer(chunk, padding=True, truncation=True, max_length=128, return_tensors="pt")
            states = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
            mask = batch["attention_mask"][..., None]
            rows.append((states * mask).sum(1) / mask.sum(1))
        return torch.cat(rows)

    return torch.cosine_similarity(pooled(texts), pooled(others)).double().numpy()


def relevance(model: DPEMNERModel, posts: Sequence[Post], *, encoder: str, seed: int = 0) -> dict[str, Any]:
    """AUC of own against exchanged captions and tags, by grain and text level, beside the plain cosine.

    Args:
        model: Trained; in evaluation mode.
        posts: Held out.
        encoder: Folder or hub id of the encoder the model started from.
        seed: Of the exchange.

    Raises:
        InputError: If nothing can be exchanged, or the model has no relevance.
    """
    if not model.network.dynamic:
        raise InputError(f"bench: fusion {model.settings.fusion.strategy} measures no relevance")
    parts = [part for part in exchangeable(posts, reads_pictures=False) if part in GRAINS]
    if not parts:
        raise InputError("bench: relevance needs posts with different captions or tags; give --visual-text")
    from transformers import AutoModel, AutoTokenizer

    plain, tokenizer = (
        AutoModel.from_pretrained(encoder, trust_remote_code=False).eval(),
        AutoTokenizer.from_pretrained(encoder, trust_remote_code=False),
    )
    result: dict[str, Any] = {}
    for part in parts:
        having = [p for p in posts if (p.caption if part == "captions" else p.tags) and len(words_of(p))]
        swapped = exchanged(having, part, seed=seed, reads_pictures=False)
        own, other = (gates(model, each, GRAINS[part]) for each in (having, swapped))
        texts = [" ".join(words_of(post).words) for post in having]
        cosines = [
            encoder_cosines(plain, tokenizer, texts, [_told(post, part) for post in each]) for each in (having, swapped)
        ]
        result[GRAINS[part]] = {
            level: {
                "auc": round(auc(getattr(own, level), getattr(other, level)), 4),
                "gate_mean": round(float(getattr(own, level).mean()), 4),
                "gate_deviation": round(float(getattr(own, level).std()), 4),
            }
            for level in LEVELS
        } | {"encoder_cosine_auc": round(auc(*cosines), 4), "posts": len(having)}
    return result


def _told(post: Post, part: str) -> str:
    return (post.caption or "") if part == "captions" else " ".join(post.tags or ())
