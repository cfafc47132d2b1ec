"""Words mapped before they are pooled into spans: the same numbers as the concatenation the equations write."""

from __future__ import annotations

import torch
from torch.nn import functional

from dpe_mner.reasoning.pooling import MeanAndEndsPooling, MeanPooling

SPANS = torch.tensor([[[1, 3], [2, 2], [4, 0]], [[0, 0], [0, 4], [3, 1]]])  # two of them with their ends swapped


def mean_of(x_t, post, span):
    first, last = sorted(SPANS[post, span].tolist())
    return x_t[post, first : last + 1].mean(0)


def test_mean_pooling_is_the_mean_of_the_spans_words():
    x_t = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    pooling = MeanPooling()
    pooled = pooling(pooling.words(x_t), SPANS)
    expected = torch.stack([torch.stack([mean_of(x_t, post, span) for span in range(3)]) for post in range(2)])
    torch.testing.assert_close(pooled, expected)


def test_mean_and_ends_is_a_linear_map_of_the_three_side_by_side():
    torch.manual_seed(0)
    x_t, pooling = torch.randn(2, 5, 4), MeanAndEndsPooling(4)
    pooled = pooling(pooling.words(x_t), SPANS)
    for post in range(2):
        for span in range(3):
            first, last = SPANS[post, span].tolist()
            beside = torch.cat([mean_of(x_t, post, span), x_t[post, first], x_t[post, last]])
            torch.testing.assert_close(pooled[post, span], functional.linear(beside, pooling.weight, pooling.bias))
