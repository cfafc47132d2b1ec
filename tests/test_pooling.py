"""Words mapped before they are pooled into spans: the same numbers as the concatenation the equations write."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dpe_mner.reasoning.heads import EntityHeads
from dpe_mner.reasoning.pooling import MeanAndEndsPooling, MeanPooling
from dpe_mner.reasoning.span_table import expected_classes
from dpe_mner.settings import HeadSettings

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


@pytest.mark.parametrize("span_table", [0, 3])
@pytest.mark.parametrize("tagging", [True, False])
def test_the_type_head_maps_what_is_pointed_at_as_if_it_were_side_by_side(tagging, span_table):
    torch.manual_seed(0)
    settings = HeadSettings(type_input="pointed", tagging=tagging, span_table=span_table)
    heads = EntityHeads(width=8, classes=3, settings=settings, dropout=0.0)
    word_mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    words, tags = heads.tag(torch.randn(2, 5, 8))
    table = heads.classify_all(words)
    fused = torch.randn(2, 3, 8)
    output = heads(fused, SPANS.clamp(max=2), words, tags, table, word_mask)

    left, right = output.left.softmax(-1), output.right.softmax(-1)
    inside = torch.stack([left[..., : w + 1].sum(-1) * right[..., w:].sum(-1) for w in range(5)], dim=-1)
    beside = [functional.gelu(heads.type_features(fused)), left @ words, right @ words]
    beside.append((inside / inside.sum(-1, keepdim=True)) @ words)
    if tagging:
        behind = torch.cat([torch.zeros(2, 3, 1), right[..., :-1]], dim=-1) * word_mask[:, None]
        beside.append(behind @ words[..., 8:])
    if table is not None:
        beside.append(expected_classes(left, right, table.softmax(-1)))
    torch.testing.assert_close(output.types, heads.types(heads.pointed(torch.cat(beside, dim=-1))))
