"""Whether vision moves a post's answer: reason again with the content of one grain exchanged for something foreign.

Relevance, weights and attention exist in any network, also in one whose answer they do not reach. What an explanation
may show is therefore measured on the answer itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dpe_mner.data.words import words_of
from dpe_mner.reasoning.heads import ReasoningOutput
from dpe_mner.reasoning.trace import ReasoningTrace
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.representations.windows import Window, WindowTokenizer
from dpe_mner.settings import GRAINS, Grain, HeadSettings, Settings
from dpe_mner.types import Post

GRAIN_NAMES: Mapping[Grain, str] = {"c": "coarse", "f": "fine"}

Reason = Callable[[list[Window], Sequence[PostFeatures]], ReasoningTrace]


@dataclass(frozen=True)
class _Foreign:
    """One fixed content to exchange for; the same for every post, so that no explanation depends on the batch."""

    caption: str
    tags: tuple[str, ...]
    features: Callable[[Tensor], Tensor]


# One shows a person and one does not: whatever a post's own picture shows, one of them says something else. A post
# that has just this caption is moved by the other one.
_FOREIGN = (
    _Foreign(
        caption="a man in a red shirt riding a bicycle down a street",
        tags=("man", "bicycle", "street"),
        features=lambda states: states.roll(states.shape[-1] // 2, dims=-1),
    ),
    _Foreign(
        caption="two glasses of wine and a plate of cheese on a wooden table",
        tags=("glass", "table", "cheese"),
        features=lambda states: states.flip(-1),
    ),
)


def span_influence(
    windows: list[Window],
    images: Sequence[PostFeatures],
    own: ReasoningTrace,
    *,
    tokenizer: WindowTokenizer,
    settings: Settings,
    reason: Reason,
) -> dict[str, Tensor]:
    """How far the answer's logits move, of each span, when a grain's content is exchanged; the greatest change counts.

    Args:
        windows: Of a batch.
        images: Image features of each.
        own: How the model reasoned over them.
        tokenizer: The model's own.
        settings: Of the model.
        reason: Reasons over other windows and images with the same noise.

    Returns:
        ``coarse`` and ``fine``, 0 where a post has nothing to exchange. *Shape:* (B, N)
    """
    steps = own.steps if settings.reasoning.combine != "last" else own.steps[-1:]
    moved = {}
    for grain in GRAINS:
        most = torch.zeros_like(steps[-1].output.types[..., 0])
        for foreign_windows, foreign_images in _exchanges(windows, images, grain, tokenizer):
            other = reason(foreign_windows, foreign_images).steps[-len(steps) :]
            for before, after in zip(steps, other, strict=True):
                most = torch.maximum(most, _change(before.output, after.output, settings.heads))
        moved[GRAIN_NAMES[grain]] = most
    return moved


def _exchanges(
    windows: list[Window], images: Sequence[PostFeatures], grain: Grain, tokenizer: WindowTokenizer
) -> Iterator[tuple[list[Window], list[PostFeatures]]]:
    """The batch with one grain foreign, a few times over; nothing when nobody has that grain."""
    coarse = grain == "c"
    texts = [window.caption if coarse else window.tags for window in windows]
    features = [image.coarse if coarse else image.fine for image in images]
    if all(part is None for part in (*texts, *features)):
        return
    for foreign in _FOREIGN:
        post = Post(text="word", caption=foreign.caption, tags=foreign.tags)
        (shown,) = tokenizer.windows(post, words_of(post))
        yield (
            [_foreign_window(window, shown, coarse) for window in windows],
            [_foreign_features(image, foreign, coarse) for image in images],
        )


def _foreign_window(window: Window, shown: Window, coarse: bool) -> Window:
    """A window with another caption or other tags; one without goes on without."""
    if coarse:
        return window if window.caption is None else replace(window, caption=shown.caption)
    return window if window.tags is None else replace(window, tags=shown.tags)


def _foreign_features(image: PostFeatures, foreign: _Foreign, coarse: bool) -> PostFeatures:
    if coarse:
        return image if image.coarse is None else replace(image, coarse=foreign.features(image.coarse))
    return image if image.fine is None else replace(image, fine=foreign.features(image.fine))


def _change(before: ReasoningOutput, after: ReasoningOutput, settings: HeadSettings) -> Tensor:
    """The largest change of a type logit, or of the log probability of a word the span pointed at. *Shape:* (B, N)."""
    change = (before.types - after.types).abs().amax(-1)
    for own, other in ((before.left, after.left), (before.right, after.right)):
        word = own.argmax(-1, keepdim=True)  # the answer reads no other; far ones differ by much and mean nothing
        log_own, log_other = (_log_probability(logits, settings).gather(-1, word) for logits in (own, other))
        change = torch.maximum(change, (log_own - log_other).abs().squeeze(-1))
    return change


def _log_probability(logits: Tensor, settings: HeadSettings) -> Tensor:
    return torch.nn.functional.logsigmoid(logits) if settings.variant == "paper" else logits.log_softmax(-1)
