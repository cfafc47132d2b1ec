"""Scores that say how often entities are right."""

from __future__ import annotations

import numpy as np
import pytest

from dpe_mner.decoding.candidates import Candidates, calibrated_scores, decode
from dpe_mner.evaluation.calibration import calibrated
from dpe_mner.evaluation.reliability import fit_scores, held_out_error, reliability
from dpe_mner.settings import DecisionSettings
from dpe_mner.types import Entity, Prediction


def overconfident(count: int, seed: int = 0):
    """Scores whose entities are right less often than they say."""
    draw = np.random.default_rng(seed)
    true = draw.uniform(0.3, 0.95, count)
    odds = np.log(true / (1 - true))
    return 1 / (1 + np.exp(-(2.5 * odds + 1.0))), draw.random(count) < true


def test_the_error_by_hand():
    scores = np.array([0.95, 0.95, 0.55, 0.55])
    found = reliability(scores, np.array([True, True, True, False]))
    assert found.count == [2, 2]
    assert found.precision == [0.5, 1.0]
    assert found.error == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)
    assert reliability(np.zeros(0), np.zeros(0, dtype=bool)).error == 0


def test_fitted_scores_say_how_often_entities_are_right():
    scores, correct = overconfident(4000)
    fitted = fit_scores(scores, correct, 0.3)
    fresh, right = overconfident(4000, seed=1)
    kept = fresh >= 0.3
    before = reliability(fresh[kept], right[kept]).error
    after = reliability(calibrated_scores(fresh[kept], fitted), right[kept]).error
    assert before > 0.1
    assert after < 0.03
    assert held_out_error(scores, correct, 0.3) < 0.04


def test_the_order_and_the_choice_stay():
    scores, correct = overconfident(1000)
    fitted = fit_scores(scores, correct, 0.42)
    mapped = calibrated_scores(scores, fitted)
    assert (np.argsort(mapped, kind="stable") == np.argsort(scores, kind="stable")).all()
    assert ((mapped >= fitted.threshold) == (scores >= 0.42)).all()
    assert calibrated_scores(np.zeros(3), fitted).tolist() == [0, 0, 0]


@pytest.mark.parametrize("correct", [np.ones(200, bool), np.zeros(200, bool), np.arange(200) < 10])
def test_too_little_to_say_leaves_scores_as_they_are(correct):
    scores = np.where(np.arange(200) < 40, 0.9, 0.1) if correct.sum() == 10 else np.full(200, 0.7)
    assert fit_scores(scores, correct, 0.5) == DecisionSettings(threshold=0.5)


def test_decoding_gives_out_mapped_scores():
    step = Candidates(np.array([[[0, 0], [2, 2]]]), np.array([[1, 2]]), np.array([[0.9, 0.6]], dtype=np.float32))
    plain = decode([step], DecisionSettings(threshold=0.5), combine="last")
    assert [row[3] for row in plain[0]] == [0.9, 0.6]
    mapped = decode([step], DecisionSettings(threshold=0.5, score_slope=1.0, score_offset=-1.0), combine="last")
    odds = np.exp(-1.0) * 9
    assert [row[:3] for row in mapped[0]] == [(0, 0, 1)]
    assert mapped[0][0][3] == pytest.approx(odds / (1 + odds), abs=1e-3)


def predicted(*scored) -> Prediction:
    return Prediction(id="", text="", entities=[Entity("", "PER", s, s + 1, 0, 1, score) for s, score in scored])


def test_the_threshold_is_the_best_for_the_mean_over_sources():
    """The large source would keep low scores, the small one would not: each counts alike."""
    large = [predicted((0, 0.9), (1, 0.3))] * 50
    small = [predicted((0, 0.9), (1, 0.35), (2, 0.35), (3, 0.35))] * 5
    gold = [{(0, 1, "PER"), (1, 2, "PER")}] * 50 + [{(0, 1, "PER")}] * 5
    together = calibrated(gold, [*large, *small])
    apart = calibrated(gold, [*large, *small], ["large"] * 50 + ["small"] * 5)
    assert together.threshold < 0.3
    assert apart.threshold > 0.35
    assert apart.by_source["small"].overall.f1 == 100
    assert apart.f1 == pytest.approx((apart.by_source["large"].overall.f1 + 100) / 2)
    assert together.f1 == together.calibrated.overall.f1
