"""A linear-chain CRF over IOB2 tags: legal sequences alone, and a score for each entity.

Tags are numbered as gold tags are (:class:`~dpe_mner.representations.batch.GoldSpans`): 0 is O, 2c - 1 is B and 2c is I
of class c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dpe_mner.decoding.candidates import DIGITS, Row
from dpe_mner.errors import InputError

FORBIDDEN = -1e4  # against scores of some tens; -inf would make gradients that are no numbers


class CrfHead(nn.Module):
    """Tag scores of words, and the CRF that reads them (Lafferty et al., 2001; Lample et al., 2016, 2.2).

    Args:
        width: Of the word states.
        classes: C, "no entity" included.

    Raises:
        InputError: If pytorch-crf is not installed.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        start, following = legal_tags(classes)
        self.output = nn.Linear(width, len(start))
        self.transitions = _crf(len(start))
        # A parametrization holds whatever training does to the scores below, weight decay too.
        parametrize.register_parametrization(self.transitions, "start_transitions", _Forbid(~start))
        parametrize.register_parametrization(self.transitions, "transitions", _Forbid(~following))

    def loss(self, states: Tensor, tags: Tensor) -> Tensor:
        """Mean negative log likelihood of the gold tags.

        Args:
            states: *Shape:* (B, M, width)
            tags: -100 on padding. *Shape:* (B, M)

        Returns:
            A scalar.
        """
        return self.loss_of(self.output(states), tags)

    def loss_of(self, emissions: Tensor, tags: Tensor) -> Tensor:
        """As :meth:`loss`, from tag scores that somebody else made. *Shape:* (B, M, tags)."""
        with parametrize.cached():
            gold, mask = begin_orphans(tags.clamp(min=0)), tags >= 0
            return -self.transitions(emissions.float(), gold, mask=mask, reduction="mean")

    def decode(self, states: Tensor, mask: Tensor) -> list[list[Row]]:
        """Entities of the best tag sequence (Viterbi). An entity scores what its least certain tag does.

        Args:
            states: *Shape:* (B, M, width)
            mask: *Shape:* (B, M)

        Returns:
            Rows of each post, by position.
        """
        return self.decode_of(self.output(states), mask)

    def decode_of(self, emissions: Tensor, mask: Tensor) -> list[list[Row]]:
        """As :meth:`decode`, from tag scores that somebody else made. *Shape:* (B, M, tags)."""
        with parametrize.cached():
            emissions = emissions.float()
            found: list[list[int]] = self.transitions.decode(emissions, mask)
            tags = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in found], batch_first=True)
            tags = nn.functional.pad(tags, (0, mask.shape[1] - tags.shape[1])).to(mask.device)
            certain = self._marginals(emissions, tags, mask).tolist()
        return [tag_rows(row, sure) for row, sure in zip(found, certain, strict=True)]

    def _marginals(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Probability of each tag over all sequences. *Shape:* (B, M).

        The gradient of a sequence's log likelihood in an emission is 1 (its tag) less the marginal of the tag.
        """
        with torch.enable_grad():
            leaf = emissions.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.transitions(leaf, tags, mask=mask, reduction="sum"), leaf)
        return 1 - gradient.gather(-1, tags[..., None]).squeeze(-1)


class _Forbid(nn.Module):
    """Scores with some of them put out of reach."""

    forbidden: Tensor

    def __init__(self, forbidden: Tensor) -> None:
        super().__init__()
        self.register_buffer("forbidden", forbidden, persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        """*Shape:* unchanged."""
        return torch.where(self.forbidden, FORBIDDEN, scores)


def _crf(tags: int) -> Any:
    try:
        from torchcrf import CRF
    except ImportError:
        raise InputError("a CRF needs pytorch-crf; run 'pip install dpe-mner[baselines]'") from None
    return CRF(tags, batch_first=True)


def legal_tags(classes: int) -> tuple[Tensor, Tensor]:
    """What may begin a post, and what may follow what: I of a class only follows B or I of the same class.

    Args:
        classes: C, "no entity" included.

    Returns:
        *Shapes:* (tags,) and (tags, tags), the tag before in the rows; tags = 2 (C - 1) + 1.
    """
    tag = torch.arange(2 * (classes - 1) + 1)
    inside = (tag > 0) & (tag % 2 == 0)
    before = tag[:, None]
    return ~inside, ~inside | (before == tag) | (before == tag - 1)


def begin_orphans(tags: Tensor) -> Tensor:
    """Tags with an inside tag that continues nothing made a begin tag; overlapping gold entities leave such.

    *Shape:* (B, M), unchanged.
    """
    before = nn.functional.pad(tags[:, :-1], (1, 0))
    orphan = (tags > 0) & (tags % 2 == 0) & (before != tags) & (before != tags - 1)
    return torch.where(orphan, tags - 1, tags)


def tag_rows(tags: Sequence[int], certain: Sequence[float]) -> list[Row]:
    """Entities of a legal tag sequence, by position. An entity scores what its least certain tag does.

    Args:
        tags: Of a post's words.
        certain: Probability of each of them; more of them than tags do no harm.
    """
    return [
        (first, last, label, round(min(max(min(certain[first : last + 1]), 0.0), 1.0), DIGITS))
        for first, last, label in tag_spans(tags)
    ]


def tag_spans(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """Spans (first word, last word, class) of a legal tag sequence."""
    spans: list[tuple[int, int, int]] = []
    for position, tag in enumerate(tags):
        if tag % 2:
            spans.append((position, position, (tag + 1) // 2))
        elif tag:
            first, _, label = spans[-1]
            spans[-1] = (first, position, label)
    return spans
