"""Paired significance: against all swaps, by its laws, over several seeds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from dpe_mner.evaluation.score import PostCounts, count
from dpe_mner.evaluation.significance import paired_randomization


def counts_of(*posts):
    """Counts of posts given as (correct, predicted, gold), of one type."""
    columns = np.array(posts, dtype=np.int64).T[..., None]
    return PostCounts(("X",), *columns)


def random_counts(seed, *shares, posts=10):
    """Two or more models' counts on the same posts; a share of the gold entities is found, some others too."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(1, 4, posts)
    return [
        counts_of(*zip(found := rng.binomial(gold, share), found + rng.integers(0, 2, posts), gold, strict=True))
        for share in shares
    ]


def exact_p(a, b):
    """The share of all 2^P swaps of posts."""

    def f1(correct, both):
        return 2 * correct / both

    one, other = (np.stack([x.correct.sum(1), (x.predicted + x.gold).sum(1)], axis=1) for x in (a, b))
    observed = abs(f1(*one.sum(0)) - f1(*other.sum(0)))
    reached = []
    for swaps in itertools.product((False, True), repeat=len(one)):
        swapped = np.array(swaps)[:, None]
        left, right = np.where(swapped, other, one).sum(0), np.where(swapped, one, other).sum(0)
        reached.append(abs(f1(*left) - f1(*right)) >= observed - 1e-12)
    return np.mean(reached)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_share_of_all_swaps(seed):
    a, b = random_counts(seed, 0.9, 0.5)
    assert paired_randomization([a], [b], samples=20_000) == pytest.approx(exact_p(a, b), abs=0.012)


def test_it_is_symmetric_and_seeded():
    a, b = random_counts(3, 0.8, 0.78, posts=300)
    p = paired_randomization([a], [b], samples=500)
    assert p == paired_randomization([a], [b], samples=500) == paired_randomization([b], [a], samples=500)
    assert p != paired_randomization([a], [b], samples=500, seed=1)


def test_it_is_bounded():
    (a,) = random_counts(0, 0.7, posts=40)
    assert paired_randomization([a], [a]) == 1
    perfect = replace(a, correct=a.gold, predicted=a.gold)
    assert paired_randomization([perfect], [replace(perfect, correct=0 * a.gold)], samples=999) == 1 / 1000
    assert paired_randomization([counts_of((0, 0, 0))], [counts_of((0, 1, 0))]) == 1


def test_draws_in_pieces_are_the_same_draws(monkeypatch):
    a, b = random_counts(1, 0.8, 0.7, posts=50)
    whole = paired_randomization([a], [b], samples=300)
    monkeypatch.setattr("dpe_mner.evaluation.significance._CELLS", 1000)
    assert paired_randomization([a], [b], samples=300) == whole


def test_a_post_is_swapped_in_all_seeds_together():
    a, b = counts_of((2, 2, 2), (1, 2, 2)), counts_of((1, 2, 2), (1, 1, 2))
    doubled = [replace(x, correct=2 * x.correct, predicted=2 * x.predicted, gold=2 * x.gold) for x in (a, b)]
    p = paired_randomization([a, a], [b, b], samples=20_000)
    assert p == pytest.approx(exact_p(*doubled), abs=0.012)
    others = random_counts(5, 0.9, 0.6, 0.8, 0.5)
    pooled = [
        PostCounts(("X",), x.correct + y.correct, x.predicted + y.predicted, x.gold + y.gold)
        for x, y in (others[::2], others[1::2])
    ]
    p = paired_randomization(others[::2], others[1::2], samples=20_000)
    assert p == pytest.approx(exact_p(*pooled), abs=0.012)


def test_types_one_model_alone_predicts_do_not_matter():
    gold = [{(0, 1, "PER")}, {(0, 1, "LOC")}] * 4
    right, wrong = [[*post] for post in gold], [[(0, 1, "MISC")] for _ in gold]
    assert paired_randomization([count(gold, right)], [count(gold, wrong)], samples=99) < 0.1


def test_what_cannot_be_paired_is_refused():
    a, b = random_counts(2, 0.8, 0.7)
    with pytest.raises(ValueError, match="same posts"):
        paired_randomization([a], [replace(b, gold=b.gold + 1)])
    for others in ([b, b], []):
        with pytest.raises(ValueError, match="same seeds"):
            paired_randomization([a], others)
    with pytest.raises(ValueError, match="samples"):
        paired_randomization([a], [b], samples=0)
