"""The strict score against an independent scorer and by hand."""

from __future__ import annotations

import random

import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from dpe_mner.data.tags import read_tags
from dpe_mner.evaluation.score import count, score


def random_tags(generator, length):
    tags, label = [], None
    for _ in range(length):
        choice = generator.random()
        if label is not None and choice < 0.4:
            tags.append(f"I-{label}")
        elif choice < 0.65:
            label = generator.choice(["PER", "LOC", "ORG", "MISC"])
            tags.append(f"B-{label}")
        else:
            label = None
            tags.append("O")
    return tags


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_seqeval(seed):
    generator = random.Random(seed)
    lengths = [generator.randint(1, 20) for _ in range(60)]
    gold = [random_tags(generator, n) for n in lengths]
    predicted = [
        tags if generator.random() < 0.5 else random_tags(generator, n) for tags, n in zip(gold, lengths, strict=True)
    ]

    def spans(rows):
        return [{(s.start, s.end, s.label) for s in read_tags(tags).spans} for tags in rows]

    ours = score(spans(gold), spans(predicted))
    theirs = classification_report(gold, predicted, output_dict=True, scheme=IOB2, mode="strict", zero_division=0)
    assert ours.overall.precision == pytest.approx(100 * theirs["micro avg"]["precision"])
    assert ours.overall.recall == pytest.approx(100 * theirs["micro avg"]["recall"])
    assert ours.overall.f1 == pytest.approx(100 * theirs["micro avg"]["f1-score"])
    for label, row in ours.per_type.items():
        assert row.f1 == pytest.approx(100 * theirs[label]["f1-score"])
        assert row.support == theirs[label]["support"]


def test_by_hand():
    report = score([{(0, 1, "PER"), (2, 3, "LOC")}, set()], [[(0, 1, "PER"), (2, 3, "ORG")], [(5, 6, "PER")]])
    assert report.overall.precision == pytest.approx(100 / 3)
    assert report.overall.recall == 50
    assert report.overall.f1 == pytest.approx(40)
    assert report.per_type["LOC"].recall == 0
    assert report.posts == 2
    assert report.as_dict()["entities"] == 2


def test_nothing_at_all_scores_zero():
    assert score([set()], [[]]).overall.f1 == 0


def test_repeated_predictions_count_once():
    assert score([{(0, 1, "PER")}], [[(0, 1, "PER"), (0, 1, "PER")]]).overall.precision == 100


def test_counts_of_named_types():
    counted = count([{(0, 1, "PER")}, set()], [[(0, 1, "PER")] * 2, [(0, 1, "PER")]], ["LOC", "PER"])
    assert counted.predicted.tolist() == [[0, 1], [0, 1]]
    assert counted.correct.tolist() == [[0, 1], [0, 0]]
    assert list(counted.report().per_type) == ["LOC", "PER"]
    with pytest.raises(KeyError, match="LOC"):
        count([{(0, 1, "LOC")}], [[]], ["PER"])
