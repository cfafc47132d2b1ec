"""Each part of the bench that is measured only when it is named: what it reports, and that it measures what it says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import POSTS, conll
from helpers import assert_refused, run
from vision import MAKERS, write_picture

from dpe_mner import InputError, Post
from dpe_mner.bench import cold_start, footprint, int8, paper_setting, phases, pictures, prediction
from dpe_mner.bench.parts import KNOWN, PARTS, USUAL, measure, named_parts
from dpe_mner.bench.subject import Subject
from dpe_mner.data.words import words_of

UNLABELLED = [replace(post, entities=None) for post in POSTS]


@pytest.fixture
def subject(build) -> Subject:
    return Subject(model=build(decision={"threshold": 0.0}), posts=POSTS, batch_size=2, repeats=1)


# --- the registry


def test_parts_are_named_one_by_one_or_with_commas():
    assert named_parts(None) == named_parts([]) == USUAL == ("prediction", "latency", "scaling", "training")
    assert named_parts(["int8,phases", "latency", "int8"]) == ("int8", "phases", "latency")
    assert named_parts(["vision"]) == ("vision",)


@pytest.mark.parametrize("name", ["paper-setting", "latency,paper-setting"])
def test_an_unknown_part_is_one_line_with_the_nearest_and_all_there_are(name):
    with pytest.raises(InputError) as caught:
        named_parts([name])
    assert "did you mean 'paper_setting'" in str(caught.value)
    assert all(part in str(caught.value) for part in KNOWN)
    assert "\n" not in str(caught.value)


def test_vision_is_by_itself(subject):
    with pytest.raises(InputError, match="by itself"):
        named_parts(["vision,latency"])
    with pytest.raises(InputError, match="models of its own"):
        measure(subject, ["vision"])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("cold_start", "cold_start loads the model anew; name its checkpoint"),
        ("memory", "memory loads the model anew; name its checkpoint"),
        ("pictures", "--images, --picture-model grid=, --picture-model tags="),
    ],
)
def test_what_is_missing_is_told_before_anything_is_measured(subject, part, message):
    told: list[str] = []
    with pytest.raises(InputError, match=message):
        measure(subject, ["latency", part], log=told.append)
    assert told == []


def test_parts_run_in_a_fixed_order_training_last(subject, monkeypatch):
    for name, part in PARTS.items():
        found = {name: 1}
        monkeypatch.setitem(PARTS, name, replace(part, measure=lambda _, found=found: found, check=lambda _: None))
    told: list[str] = []
    result = measure(subject, ["training", "int8", "prediction"], log=told.append)
    assert told == ["prediction ...", "int8 ...", "training ..."]
    assert {"prediction", "int8", "training", "posts", "device", "threads", "dtype", "torch"} <= set(result)
    assert "phases" not in result


# --- prediction


def test_prediction_is_measured_without_captions_too(subject, monkeypatch):
    monkeypatch.setattr(prediction, "STEPS", (1,))
    monkeypatch.setattr(prediction, "SPANS", (16,))
    found = prediction.measure(subject)
    rates = found["posts_per_second"]
    assert {"encoder_without_captions", "without_captions", "default", "steps_1", "spans_16"} <= set(rates)
    assert found["ratio_to_encoder_without_captions"] == pytest.approx(
        rates["encoder_without_captions"] / rates["without_captions"], rel=0.05
    )
    bare = replace(subject, posts=[Post(words=post.words) for post in POSTS])
    assert "without_captions" not in prediction.measure(bare)["posts_per_second"]


# --- phases


def test_phases_add_up_and_leave_no_hook(subject):
    before = subject.predict()
    found = phases.measure(subject)["phases"]
    assert set(found["parts"]) == {
        "tokenizing", "batching", "encoder_posts", "encoder_captions_and_tags", "prepare", "spans", "decoding",
    }  # fmt: skip
    assert sum(found["parts"].values()) == pytest.approx(100, abs=0.1)
    levels = {"token_level", "sentence_level", "span_level"}
    assert set(found["inside"]) == levels | {"span_aggregator", "top_layer", "heads"}
    within = {"span_aggregator", "span_level", "top_layer", "heads"}
    assert sum(found["inside"][name] for name in within) < found["parts"]["spans"]
    hooked = [m for m in subject.model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooked == []
    assert subject.predict() == before


def test_phases_of_a_static_fusion_have_no_levels(build):
    model = build(fusion={"strategy": "mean-pool"})
    found = phases.measure(Subject(model=model, posts=POSTS, repeats=1))["phases"]
    assert set(found["inside"]) == {"span_aggregator", "top_layer", "heads"}


# --- int8


def test_int8_is_held_against_float32_and_leaves_the_model_alone(subject):
    found = int8.measure(subject)["int8"]
    rates = found["posts_per_second"]
    assert found["ratio_to_float32"] == pytest.approx(rates["float32"] / rates["int8"], rel=0.05)
    assert found["compared"] == len(POSTS)
    assert 0 <= found["differ_alone"] <= len(POSTS)
    assert set(found["f1"]) == {"float32", "int8"}
    assert any(isinstance(module, torch.nn.Linear) for module in subject.model.text_encoder.encoder.modules())
    assert "f1" not in int8.measure(replace(subject, posts=UNLABELLED))["int8"]


def test_int8_of_half_precision_is_refused(subject):
    subject.model.to(torch.bfloat16)
    with pytest.raises(InputError, match="leave out --device and --dtype"):
        measure(subject, ["int8"])


# --- the paper's setting


def test_the_papers_setting_is_what_it_says(build):
    subject = Subject(model=build(encoder={"caption_layers": 1}), posts=POSTS, batch_size=3, repeats=1)
    model, seen = subject.model, []
    reason = model.reason
    model.reason = lambda batch, **options: (
        seen.append((len(batch), model.settings.encoder.caption_layers, options)) or reason(batch, **options)
    )
    answers = paper_setting.as_in_the_paper(subject)
    assert seen == [(3, None, {"steps": 5, "spans": 150}), (1, None, {"steps": 5, "spans": 150})]  # as posts come
    assert model.settings.encoder.caption_layers == 1
    assert [answer.id for answer in answers] == [post.id for post in POSTS]
    assert all(
        entity.text in words_of(post).text for post, a in zip(POSTS, answers, strict=True) for entity in a.entities
    )


def test_the_papers_setting_is_timed_and_scored(subject):
    found = paper_setting.measure(subject)["paper_setting"]
    assert found["ratio_to_default"] > 1
    assert set(found["f1"]) == set(found["f1_calibrated"]) == {"default", "paper"}
    assert "f1" not in paper_setting.measure(replace(subject, posts=UNLABELLED))["paper_setting"]


# --- memory


@pytest.fixture
def task(saved_model) -> footprint.Task:
    return footprint.Task(
        checkpoint=saved_model, posts=POSTS, batch_size=4, device="cpu", dtype="float32", threads=1
    )  # fmt: skip


def test_training_memory_is_of_the_longest_posts_at_sixty_spans(task, monkeypatch):
    batches, spans = [], []
    one_batch, trained_as = footprint.one_batch, footprint.trained_as
    monkeypatch.setattr(footprint, "one_batch", lambda model, posts: batches.append(posts) or one_batch(model, posts))
    monkeypatch.setattr(
        footprint, "trained_as", lambda model, **changes: spans.append(changes) or trained_as(model, **changes)
    )
    assert footprint.training(task) > 1  # MB
    assert spans == [{"noise": {"spans": 60}}]
    assert [len(posts) for posts in batches] == [32] * 4
    lengths = [len(post.words) for post in batches[0][: len(POSTS)]]
    assert lengths == sorted((len(post.words) for post in POSTS), reverse=True)


@pytest.mark.slow
def test_memory_is_measured_in_fresh_processes(subject, saved_model):
    found = measure(replace(subject, checkpoint=saved_model), ["memory"])["memory"]
    assert 0 < found["idle_mb"]
    assert found["prediction_mb"] > 0.9 * found["idle_mb"]  # a process's peak differs a little from run to run
    assert found["training_mb"] > found["idle_mb"]


# --- cold start


@pytest.mark.parametrize(
    ("way", "steps"),
    [
        ("pytorch", ["interpreter", "import_torch", "import_dpe_mner", "load", "first_post"]),
        ("transformers", ["interpreter", "import_torch", "import_bert_model"]),
    ],
)
def test_a_round_reports_its_steps(saved_model, capsys, way, steps):
    cold_start.main("0", way, *([saved_model] if way == "pytorch" else []))
    found = json.loads(capsys.readouterr().out)
    assert list(found) == steps
    assert all(seconds >= 0 for seconds in found.values())


def test_an_onnx_folder_that_is_none_is_refused(subject, tmp_path):
    missing = replace(subject, checkpoint="anything", onnx=tmp_path / "none")
    with pytest.raises(InputError, match=r"none: no such folder; make one with dpe-mner export"):
        measure(missing, ["cold_start"])


@pytest.mark.slow
def test_cold_start_runs_fresh_interpreters(saved_model, tmp_path):
    found = cold_start.median_of("pytorch", [saved_model], rounds=1)
    assert found["import_torch"] > 0.05  # it was not there before
    assert found["together"] == pytest.approx(sum(s for name, s in found.items() if name != "together"), abs=0.01)
    with pytest.raises(InputError, match="cold_start by pytorch failed") as caught:
        cold_start.median_of("pytorch", [str(tmp_path / "none")], rounds=1)
    assert "\n" not in str(caught.value)


# --- pictures


@pytest.fixture
def illustrated(build, tmp_path, tmp_path_factory):
    """A model that reads pictures, four posts with one each, and a file that is no picture."""
    pytest.importorskip("lmdb")
    models = {kind: MAKERS[kind](tmp_path_factory.mktemp(kind)) for kind in ("vit", "detr")}
    detector = {"model": models["detr"], "threshold": 0.0}
    model = build(
        pictures={"grid": {"model": models["vit"], "pool": 2}, "tags": detector},
        fusion={"coarse_image_size": 16, "fine_image_size": 16},
    )
    folder = tmp_path / "images"
    posts = [replace(p, image=str(write_picture(folder / f"{p.id}.png", k))) for k, p in enumerate(POSTS)]
    (folder / "broken.png").write_bytes(b"no picture")
    named = {"grid": models["vit"], "tags": models["detr"]}
    return Subject(model=model, posts=posts, repeats=1, images=folder, picture_models=named)


def test_pictures_are_held_against_the_bare_models(illustrated):
    found = measure(illustrated, ["pictures"])["pictures"]
    assert found["count"] == 1  # of four that can be opened three warm up
    assert found["ratio_to_bare_models"] > 0
    assert {"grid", "tags"} <= set(found["kilobytes_a_picture"])
    assert 0 < found["half_precision_error"] < 1e-2
    assert found["one_post"]["posts"] == 3
    assert found["one_post"]["ratio_to_bare_models"] > 0


def test_pictures_that_cannot_be_read_are_one_line(illustrated, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        measure(replace(illustrated, images=tmp_path / "none"), ["pictures"])
    empty = {"grid": str(tmp_path), "tags": str(tmp_path)}
    with pytest.raises(InputError, match="bench: image backbone"):
        measure(replace(illustrated, picture_models=empty), ["pictures"])
    for path in illustrated.images.glob("[bcd].png"):
        path.unlink()
    with pytest.raises(InputError, match="two pictures that can be opened, of 2 there are 1"):
        pictures.measure(illustrated)


# --- the command


def test_the_command_shows_named_parts_and_writes_them(saved_model, write, tmp_path):
    data, output = write("posts.txt", conll(POSTS)), tmp_path / "bench.json"
    result = run(
        "bench", data, "--model", saved_model, "--repeats", "1", "--only", "phases,int8", "--only", "paper_setting",
        "--json", output,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()
    assert {"phases", "int8", "paper_setting"} <= set(json.loads(output.read_text()))
    shown = result.stdout.decode()
    assert "encoder captions and tags" in shown
    assert "times the time of float32; F1 float32" in " ".join(shown.split())
    assert "times as long as the default" in " ".join(shown.split())


def test_labels_are_renamed_and_the_subject_is_what_was_asked_for(saved_model, write, monkeypatch):
    given: list[Subject] = []

    def look(subject, parts, *, log):
        given.append(subject)
        raise InputError("seen")

    monkeypatch.setattr("dpe_mner.bench.parts.measure", look)
    data = write("posts.txt", conll(POSTS).replace("MISC", "OTHER"))
    arguments = ("bench", data, "--model", saved_model, "--only", "int8", "--batch-size", "7")
    assert_refused(run(*arguments, "--label-map", "OTHER"), "--label-map 'OTHER'")
    assert_refused(run(*arguments, "--label-map", "OTHER=MISC"), "seen")
    (subject,) = given
    assert [post.entities for post in subject.posts] == [post.entities for post in POSTS]
    assert (subject.labelled, subject.batch_size, subject.checkpoint) == (True, 7, saved_model)
