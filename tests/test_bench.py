"""The bench: what it reports, that it measures what it says, and that it leaves the model alone."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import POSTS, conll
from helpers import assert_refused, run

from dpe_mner import InputError
from dpe_mner.bench import calls, training
from dpe_mner.bench.calls import AXES
from dpe_mner.bench.clock import in_turns, percentile
from dpe_mner.bench.subject import Subject
from dpe_mner.bench.workload import batches_of, posts_of_length, sample_posts, with_gold
from dpe_mner.data.words import words_of


def test_the_command_reports_the_promised_fields(saved_model, tmp_path, monkeypatch, write):
    for axis, sizes in AXES.items():
        monkeypatch.setitem(AXES, axis, sizes[:1])  # the large ones take a minute
    data = write("posts.txt", conll(POSTS))
    output, plot = tmp_path / "bench.json", tmp_path / "scaling.png"
    measured = ["--repeats", "1", "--threads", "1", "--json", output, "--plot", plot]
    result = run("bench", data, "--model", saved_model, *measured)
    assert result.returncode == 0, result.stderr.decode()
    found = json.loads(output.read_text())
    assert set(found) >= {
        "posts_per_second", "ratio_to_encoder", "train_posts_per_second", "peak_memory_mb", "device",
        "latency_ms", "scaling_ms", "train_ratio_to_encoder", "ratios",
    }  # fmt: skip
    rates = found["posts_per_second"]
    assert set(rates) >= {"encoder", "encoder_all", "default", "steps_1", "steps_5", "spans_16", "spans_150"}
    assert found["ratio_to_encoder"] == pytest.approx(rates["encoder"] / rates["default"], rel=0.01)
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert {axis: tuple(map(int, times)) for axis, times in found["scaling_ms"].items()} == AXES
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_only_some_parts(saved_model, tmp_path):
    output = tmp_path / "bench.json"
    result = run("bench", "--model", saved_model, "--repeats", "1", "--only", "latency", "--json", output)
    assert result.returncode == 0, result.stderr.decode()
    found = json.loads(output.read_text())
    assert "latency_ms" in found
    assert not {"ratios", "scaling_ms", "train_ratios"} & set(found)
    assert b"one post alone" in result.stdout
    assert b"training step" not in result.stdout


def test_a_part_that_is_not_there(saved_model, tmp_path):
    assert_refused(run("bench", "--model", saved_model, "--only", "trainin"), "did you mean 'training'")
    assert_refused(run("bench", "--only", "latency", "--plot", tmp_path / "scaling.png"), "--only scaling")


def test_works_take_turns_and_medians_are_kept(monkeypatch):
    order = []
    clock = iter([0, 1, 1, 3, 10, 19, 20, 21, 30, 32, 40, 43])  # begin and end of each work, in the order they ran
    monkeypatch.setattr("dpe_mner.bench.clock.time.perf_counter", lambda: next(clock))
    works = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    assert in_turns(works, repeats=3, device=torch.device("cpu")) == {"a": 2, "b": 2}
    assert order == ["a", "b"] * 4  # once to warm up


def test_percentiles():
    values = [float(v) for v in range(101)]
    assert percentile(values[::-1], 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7


def test_posts_have_the_length_asked_for():
    for post in posts_of_length(5, 13, caption_words=6):
        assert len(words_of(post)) == 13
        assert len(post.caption.split()) == 6
    assert len(sample_posts(30)) == 30


def test_the_bare_encoder_sees_all_posts_once(build):
    model = build()
    posts = sample_posts(20)
    batches = batches_of(model, posts, 4)
    assert sum(len(batch) for batch in batches) == 20
    assert max(len(batch) for batch in batches) <= 4


def test_training_is_measured_at_sixty_and_its_own_spans_and_leaves_the_model_as_it_was(build):
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = model.settings
    seen = []
    forward = model.network.forward
    model.network.forward = lambda context, step, spans, beliefs: (
        seen.append(tuple(spans.shape)) or forward(context, step, spans, beliefs)
    )
    found = training.measure(Subject(model=model, posts=sample_posts(4), repeats=1))
    assert {shape[:2] for shape in seen} == {(32, 60), (32, settings.noise.spans)}
    assert found["train_ratio_to_encoder"] == found["train_ratios"]["step"] > 1
    assert model.settings == settings
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_picture_tokens_are_as_many_as_asked_for_and_are_read(build):
    model = build()
    seen = []
    reason = model.reason
    model.reason = lambda batch: seen.append((len(batch), batch.coarse)) or reason(batch)
    calls.call_of_size(Subject(model=model, posts=sample_posts(4)), "picture_tokens", 9)()
    ((posts, coarse),) = seen
    assert coarse.features.shape == (posts, 9, model.settings.fusion.coarse_image_size)
    assert coarse.mask.all()


def test_made_up_gold_lies_inside(build):
    batch = with_gold(batches_of(build(), posts_of_length(3, 7), 8)[0])
    assert int(batch.gold.spans.max()) < 7
    assert (batch.gold.tags[batch.word_mask] == 0).all()


@pytest.mark.parametrize("arguments", [["--repeats", "0"], ["--batch-size", "0"], ["--threads", "0"]])
def test_wrong_numbers_are_one_line(arguments):
    assert_refused(run("bench", *arguments), "at least 1")


def test_nothing_to_measure(build):
    with pytest.raises(InputError, match="no posts"):
        Subject(model=build(), posts=[])
    assert_refused(run("bench", "missing.txt"), "missing.txt")
    assert_refused(run("bench", "--device", "nowhere", "--repeats", "1"), "nowhere")
    assert_refused(run("bench", "--dtype", "int3"), "float32, bfloat16, float16")
