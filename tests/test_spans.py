"""Spans as numbers, the noise process, the sampler, the schedules."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from dpe_mner.diffusion.codec import SpanCodec
from dpe_mner.diffusion.noise import NoiseProcess, cumulative_alpha, starting_noise
from dpe_mner.diffusion.start import GoldExpansion
from dpe_mner.fusion.priority import schedule_weight, share_between


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_every_span_of_every_length_survives_zero_noise(scale):
    codec = SpanCodec(scale)
    for length in range(1, 65):
        spans = torch.tensor([(i, j) for i in range(length) for j in range(i, length)])[None]
        lengths = torch.tensor([length])
        assert torch.equal(codec.decode(codec.encode(spans, lengths), lengths), spans)


def test_any_signal_decodes_to_an_ordered_span_inside_the_post():
    codec = SpanCodec(2.0)
    lengths = torch.tensor([1, 5, 40])
    signals = torch.randn(3, 500, 2, generator=torch.Generator().manual_seed(0)) * 3
    spans = codec.decode(signals, lengths)
    assert (spans >= 0).all()
    assert (spans < lengths[:, None, None]).all()
    assert (spans[..., 0] <= spans[..., 1]).all()


def test_cosine_alpha_follows_its_closed_formula():
    T = 1000
    alpha = cumulative_alpha(T).numpy()
    f = np.cos(((np.arange(T + 1) / T) + 0.008) / 1.008 * math.pi / 2) ** 2
    np.testing.assert_allclose(alpha[:-1], (f[1:] / f[0])[:-1], rtol=1e-9)  # only the last beta is clipped
    assert alpha[799] == pytest.approx(0.094, abs=1e-3)
    assert alpha[199] == pytest.approx(0.899, abs=1e-3)


def test_noise_mixes_by_alpha():
    process = NoiseProcess(timesteps=1000)
    z_0, noise = torch.ones(1, 1, 2), torch.full((1, 1, 2), 3.0)
    t = torch.tensor([599])
    a = float(process.alpha[599])
    expected = math.sqrt(a) + math.sqrt(1 - a) * 3
    assert process.add_noise(z_0, t, noise).flatten().tolist() == pytest.approx([expected] * 2, rel=1e-5)


@pytest.mark.parametrize("timesteps", [2, 50, 1000])
def test_at_the_top_there_is_noise_alone(timesteps):
    """Reasoning starts from it, so training at T-1 must not be shown the gold spans."""
    process = NoiseProcess(timesteps=timesteps)
    top = torch.tensor([timesteps - 1])
    assert float(process.alpha[-1]) == 0
    assert float(process.alpha[:-1].min()) > 0
    assert float(process.signal_share(torch.tensor([0]))) == 1  # z_0 of eq. 1
    assert float(process.signal_share(top)) == 0
    z_0, noise = torch.randn(2, 1, 4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(process.add_noise(z_0, top, noise), noise)
    assert float(schedule_weight(process.signal_share(top), priority="bounded", minimum=0.0)) == 1
    after = torch.tensor([timesteps // 2])
    s = process.signal_share(after)
    if timesteps > 2:
        stepped = process.step(noise, z_0, top, after)
        torch.testing.assert_close(stepped, s * z_0 + (1 - s**2).sqrt() * noise)
        drawn = torch.randn(1, 4, 2, generator=torch.Generator().manual_seed(1))
        again = process.step(noise, z_0, top, after, eta=1.0, noise=drawn)
        torch.testing.assert_close(again, s * z_0 + (1 - s**2).sqrt() * drawn, rtol=1e-4, atol=1e-3)


def test_ddim_step_by_hand():
    process = NoiseProcess(timesteps=1000)
    a, a_next = float(process.alpha[799]), float(process.alpha[399])
    z_t, z_0, noise = 0.7, -1.2, 0.3
    predicted = (z_t - math.sqrt(a) * z_0) / math.sqrt(1 - a)
    sigma = math.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
    for eta in (0.0, 1.0):
        s = eta * sigma
        expected = math.sqrt(a_next) * z_0 + math.sqrt(1 - a_next - s**2) * predicted + s * noise
        stepped = process.step(
            torch.full((1, 1, 2), z_t),
            torch.full((1, 1, 2), z_0),
            torch.tensor([799]),
            torch.tensor([399]),
            eta=eta,
            noise=torch.full((1, 1, 2), noise),
        )
        assert float(stepped[0, 0, 0]) == pytest.approx(expected, rel=1e-4)


def test_the_last_step_is_the_prediction_itself():
    process = NoiseProcess(timesteps=1000)
    z_0 = torch.randn(2, 3, 2)
    stepped = process.step(torch.randn(2, 3, 2), z_0, torch.tensor([5, 5]), torch.tensor([-1, -1]))
    assert torch.equal(stepped, z_0)


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
def test_times_run_from_the_top_to_the_end(steps, power):
    pairs = NoiseProcess(timesteps=1000).times(steps, power=power)
    assert len(pairs) == steps
    assert pairs[0][0] == 999
    assert pairs[-1][1] == -1
    assert all(t > after for t, after in pairs)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(pairs))


def test_five_even_steps_are_the_parents():
    pairs = NoiseProcess(timesteps=1000).times(5)
    assert [t for t, _ in pairs] == [999, 799, 599, 399, 199]


def test_training_times_fall_from_pass_to_pass_and_some_start_at_the_top():
    noise = NoiseProcess(timesteps=1000)
    times = noise.training_times(torch.ones(4000), 3, 0.25, torch.Generator().manual_seed(0))
    assert times.shape == (3, 4000)
    assert times.min() >= 0
    assert bool((times[1:] <= times[:-1]).all())
    assert float((times[0] == 999).float().mean()) == pytest.approx(0.25, abs=0.03)
    visited = torch.tensor([t for t, _ in noise.times(3)])
    as_reasoning = (times == visited[:, None]).all(0)
    assert float(as_reasoning[times[0] == 999].float().mean()) > 0.98  # a few are drawn at the top
    assert float(times[0][times[0] < 999].float().mean()) == pytest.approx(500, abs=25)


def test_zero_steps_raise():
    with pytest.raises(ValueError, match="at least one step"):
        NoiseProcess(timesteps=1000).times(0)


def test_starting_noise_depends_on_the_seed_alone_and_is_normal():
    def draw(seed, start):
        return starting_noise(4096, start=start, generator=torch.Generator().manual_seed(seed))

    for start in ("gaussian", "quasi"):
        assert torch.equal(draw(3, start), draw(3, start))
        assert not torch.equal(draw(3, start), draw(4, start))
        assert draw(3, start).mean().abs() < 0.1
        assert draw(3, start).std() == pytest.approx(1.0, abs=0.05)


def test_priority_schedules_follow_their_formulas():
    s = torch.linspace(0, 1, 11)
    closed = {
        "bounded": 0.3 + 0.4 * (1 - s),
        "literal": 0.3 * s,
        "literal-flipped": 0.3 * torch.sqrt(1 - s**2),
    }
    for name, expected in closed.items():
        weight = schedule_weight(s, priority=name, minimum=0.3)
        torch.testing.assert_close(weight, expected)
        torch.testing.assert_close(schedule_weight(s, priority=name, minimum=0.3, reverse=True), 1 - expected)


def test_bounded_runs_from_easy_to_hard():
    weight = schedule_weight(torch.tensor([0.0, 1.0]), priority="bounded", minimum=0.3)
    assert weight.tolist() == pytest.approx([0.7, 0.3])


def test_a_missing_part_gives_its_weight_to_its_twin():
    weight = torch.full((4,), 0.7)
    easy_there = torch.tensor([True, True, False, False])
    hard_there = torch.tensor([True, False, True, False])
    easy, hard = share_between(weight, easy_there, hard_there)
    assert easy.tolist() == pytest.approx([0.7, 1.0, 0.0, 0.0])
    assert hard.tolist() == pytest.approx([0.3, 0.0, 1.0, 0.0])


def test_gold_expansion_with_no_some_and_too_many_gold_spans():
    index, from_gold = GoldExpansion(10, 0.7)(torch.tensor([0, 3, 25]))
    assert not from_gold[0].any()
    assert set(index[1][from_gold[1]].tolist()) == {0, 1, 2}
    assert from_gold[1].sum() == 7
    assert index[2][from_gold[2]].tolist() == list(range(7))
    assert (index < torch.tensor([1, 3, 25])[:, None]).all()
