"""Training a text baseline: what a run leaves, exact resume, one-line errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from baseline_parts import TEXT_KINDS, TINY, quiet
from conftest import LABELS, POSTS, conll, jsonl
from safetensors.torch import load_file

from dpe_mner import InputError
from dpe_mner.baselines.build import Description, new_baseline
from dpe_mner.baselines.checkpoint import load_baseline
from dpe_mner.baselines.glove import read_glove
from dpe_mner.baselines.predict import predict_posts
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.train import train_baseline
from dpe_mner.data.gold import gold_of_posts
from dpe_mner.evaluation.calibration import calibrated
from dpe_mner.training.recipe import Recipe


@pytest.fixture
def recipe(tmp_path, encoders, write) -> Recipe:
    write("train.txt", conll(POSTS * 2))
    write("valid.txt", conll(POSTS))
    training = {"epochs": 3, "batch_size": 3, "learning_rate": 1e-3, "encoder_learning_rate": 1e-3, "seed": 5}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "encoder": encoders("bert-uncased"),
            # The captions are not there: a baseline must not look for them.
            "data": {"folder": str(tmp_path), "visual_text": "none.jsonl", "images": "none"},
            "training": {**training, "piece_dropout": 0.1},
            "output": str(tmp_path / "run"),
        }
    )


# --- runs


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_a_run_leaves_figures_predictions_and_a_loadable_baseline(recipe, tmp_path, kind):
    lines: list[str] = []
    metrics = train_baseline(recipe, kind, settings=TINY, log=lines.append)
    run = tmp_path / "run"
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert metrics["baseline"] == kind
    assert metrics["encoder"] == (None if kind == "bilstm-crf" else recipe.encoder)
    assert [entry["epoch"] for entry in metrics["history"]] == [1, 2, 3]
    assert metrics["f1"] == pytest.approx(max(entry["f1"] for entry in metrics["history"]), abs=1e-6)
    assert metrics["validation"]["entities"] == sum(len(p.entities) for p in POSTS)
    assert metrics["train_posts"] == 8
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert (run / "recipe.yaml").is_file()
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [p.id for p in POSTS]
    assert all(set(row) == {"id", "entities", "warnings"} for row in rows)
    baseline = load_baseline(run)
    assert [p.as_dict() for p in predict_posts(baseline, POSTS)] == rows


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_the_threshold_is_chosen_as_for_our_model_and_kept(recipe, tmp_path, kind):
    metrics = train_baseline(recipe, kind, settings=TINY, log=quiet)
    run = tmp_path / "run"
    every = predict_posts(load_baseline(run), POSTS, threshold=0.0)
    validation = calibrated(gold_of_posts(POSTS), every)
    assert metrics["threshold"] == validation.threshold == json.loads((run / "baseline.json").read_text())["threshold"]
    assert metrics["f1"] == validation.calibrated.overall.f1
    assert metrics["f1_without_threshold"] == validation.report.overall.f1
    assert all({"threshold", "f1_without_threshold"} <= set(entry) for entry in metrics["history"])
    kept = [(p.id, e.start, e.end) for p in predict_posts(load_baseline(run), POSTS) for e in p.entities]
    assert kept == [
        (p.id, e.start, e.end) for p in every for e in p.entities if e.score >= validation.threshold
    ]  # what is stored is what is applied


def test_a_stored_threshold_drops_what_scores_less_and_old_folders_have_none(recipe, tmp_path):
    training = recipe.training.model_copy(update={"epochs": 25})  # until it finds something
    train_baseline(recipe.model_copy(update={"training": training}), "bert-crf", settings=TINY, log=quiet)
    file = tmp_path / "run" / "baseline.json"
    values = json.loads(file.read_text())
    del values["threshold"]  # as an earlier version wrote it
    file.write_text(json.dumps(values))
    every = predict_posts(load_baseline(file.parent), POSTS)
    scores = sorted(e.score for p in every for e in p.entities)
    assert scores
    middle = scores[len(scores) // 2]
    file.write_text(json.dumps(values | {"threshold": middle}))
    left = [e.score for p in predict_posts(load_baseline(file.parent), POSTS) for e in p.entities]
    assert sorted(left) == [score for score in scores if score >= middle]
    for wrong in (-0.1, 1.5, "high"):
        file.write_text(json.dumps(values | {"threshold": wrong}))
        with pytest.raises(InputError, match=r"baseline\.json.*threshold"):
            load_baseline(file.parent)


@pytest.mark.parametrize("kind", ["bilstm-crf", "bert-span"])
def test_a_killed_run_resumes_bit_for_bit(recipe, tmp_path, kind):
    whole, broken = (recipe.model_copy(update={"output": str(tmp_path / name)}) for name in ("whole", "broken"))
    settings = BaselineSettings()  # with dropout and words replaced
    train_baseline(whole, kind, settings=settings, log=quiet)

    class Killed(Exception):
        pass

    def kill_in_second_epoch(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise Killed

    with pytest.raises(Killed):
        train_baseline(broken, kind, settings=settings, log=kill_in_second_epoch)
    with pytest.raises(InputError, match=r"another baseline \(settings differs"):
        train_baseline(broken, kind, settings=TINY, resume=True, log=quiet)
    metrics = train_baseline(broken, kind, settings=settings, resume=True, log=quiet)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("whole", "broken")]
    assert histories[0] == histories[1]
    assert train_baseline(broken, kind, settings=settings, resume=True, log=quiet) == metrics
    with pytest.raises(InputError, match="holds a run already"):
        train_baseline(broken, kind, settings=settings, log=quiet)


def test_learning_rates(recipe, monkeypatch):
    from dpe_mner.baselines.trainer import BaselineTrainer

    rates: dict[str, float] = {}

    class Stopped(Exception):
        pass

    def look(self, *args, **kwargs):
        names = {id(p): name for name, p in self.model.named_parameters()}
        for group in self.create_optimizer().param_groups:
            rates.update({names[id(p)]: group["lr"] for p in group["params"]})
        raise Stopped

    monkeypatch.setattr(BaselineTrainer, "train", look)
    own = BaselineSettings.model_validate({"crf": {"learning_rate": 0.5}, "bilstm": {"learning_rate": 0.25}})
    training = recipe.training.model_copy(update={"encoder_learning_rate": 0.1, "learning_rate": 0.2})
    recipe = recipe.model_copy(update={"training": training})
    with pytest.raises(Stopped):
        train_baseline(recipe, "bert-crf", settings=own, log=quiet)
    assert rates["text_encoder.encoder.embeddings.word_embeddings.weight"] == 0.1
    assert rates["crf.output.weight"] == 0.2
    assert rates["crf.transitions.parametrizations.transitions.original"] == 0.5
    rates.clear()
    with pytest.raises(Stopped):
        train_baseline(recipe, "bilstm-crf", settings=own, log=quiet)
    assert rates["lstm.weight_hh_l0"] == rates["words.weight"] == rates["crf.output.weight"] == 0.25
    assert rates["crf.transitions.parametrizations.transitions.original"] == 0.5


def test_entities_too_long_for_a_span_are_told(recipe):
    settings = BaselineSettings.model_validate({"span": {"max_length": 1}})
    lines: list[str] = []
    training = recipe.training.model_copy(update={"epochs": 1})
    train_baseline(recipe.model_copy(update={"training": training}), "bert-span", settings=settings, log=lines.append)
    assert lines[0].startswith("6 of 12 gold entities are longer than 1 words")


# --- errors


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("bert-srf", "did you mean 'bert-crf'"), ("xyz", "known baselines: bilstm-crf, bert-tag, bert-crf")],
)
def test_an_unknown_kind_names_the_nearest(recipe, kind, hint):
    with pytest.raises(InputError, match=hint):
        train_baseline(recipe, kind, log=quiet)


def test_labels_outside_the_label_set_are_refused(recipe):
    data = recipe.data.model_copy(update={"labels": ["PER", "LOC"]})
    with pytest.raises(InputError, match=r"train\.txt: labels MISC, ORG are unknown"):
        train_baseline(recipe.model_copy(update={"data": data}), "bert-span", log=quiet)


def test_a_missing_extra_says_what_to_install(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcrf", None)
    with pytest.raises(InputError, match=r"pip install dpe-mner\[baselines\]"):
        train_baseline(recipe, "bert-crf", log=quiet)
    training = recipe.training.model_copy(update={"epochs": 1})
    assert (
        train_baseline(recipe.model_copy(update={"training": training}), "bert-tag", log=quiet)["baseline"]
        == "bert-tag"
    )


def test_what_is_no_baseline_is_not_loaded(tmp_path, recipe):
    with pytest.raises(InputError, match=r"baseline\.json: missing"):
        load_baseline(tmp_path)
    train_baseline(
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 1})}), "bert-crf", log=quiet
    )
    weights = Path(recipe.output) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"model\.safetensors: damaged") as caught:
        load_baseline(recipe.output)
    assert "\n" not in str(caught.value)


# --- GloVe

GLOVE = "the 0.5 -1 2e-1\nParis 1 2 3\n. . . 4 5 6\nparis 7 8 9\n"


def test_glove_is_read(write):
    path = str(write("g.txt", GLOVE))
    found = read_glove(path, width=3)
    assert found.words == ["the", "Paris", ". . .", "paris"]
    assert found.vectors[2].tolist() == [4, 5, 6]
    lowered = read_glove(path, width=3, lowercase=True)
    assert lowered.words == ["the", "paris", ". . ."]
    assert lowered.vectors[1].tolist() == [1, 2, 3]  # the more frequent spelling
    assert read_glove(path, width=3, limit=2).words == ["the", "Paris"]


def test_glove_vectors_become_the_words(write, encoders):
    path = str(write("g.txt", GLOVE + "Berlin 3 2 1\n"))
    settings = BaselineSettings.model_validate({"bilstm": {"glove": path, "word_size": 3}})
    description = Description(kind="bilstm-crf", labels=LABELS, settings=settings)
    baseline = new_baseline(description, encoder="", posts=POSTS)
    ids = [piece[0] for piece in baseline.tokenizer.pretrained(["PARIS", "berlin", "Kevin"])["input_ids"]]
    vectors = baseline.model.words.weight[ids].tolist()
    assert vectors[0] == [1, 2, 3]
    assert vectors[1] == [3, 2, 1]  # a word no post has
    assert ids[2] > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the 1 2 3\nof 1 x 3\n", r"g\.txt:2: not a word followed by 3 numbers"),
        ("the 1 2 3\nof 1 nan 3\n", r"g\.txt:2: not a word"),
        ("the 1 2 3\n\n", r"g\.txt:2: not a word"),
        ("the 1 2 3\nof 1 2\n", r"g\.txt:2: 2 numbers where 3 were expected"),
        ("the 1 2 3 4\n", r"g\.txt:1: 4 numbers where 3 were expected; set bilstm\.word_size"),
        ("400000 3\nthe 1 2 3\n", r"g\.txt:1: 1 numbers where 3"),
        (b"the 1 2 3\n\xff\xfe 1 2 3\n", r"g\.txt:2: not valid UTF-8"),
        ("", "holds no word vector"),
    ],
)
def test_bad_glove_lines_are_one_clear_line(recipe, write, content, message):
    path = write("g.txt", content)
    settings = BaselineSettings.model_validate({"bilstm": {"glove": str(path), "word_size": 3}})
    with pytest.raises(InputError, match=message) as caught:
        train_baseline(recipe, "bilstm-crf", settings=settings, log=quiet)
    assert "\n" not in str(caught.value)
    assert not Path(recipe.output).exists()  # the folder stays free for the next try


def test_a_missing_glove_file(recipe, tmp_path):
    settings = BaselineSettings.model_validate({"bilstm": {"glove": str(tmp_path / "no.txt")}})
    with pytest.raises(InputError, match=r"no\.txt: cannot be read"):
        train_baseline(recipe, "bilstm-crf", settings=settings, log=quiet)


def test_a_post_with_overlapping_gold_does_not_break_training(recipe, write):
    entities = [{"start": 0, "end": 3, "label": "PER"}, {"start": 1, "end": 2, "label": "LOC"}]
    write("train.jsonl", jsonl([{"id": "1", "words": ["a", "b", "c"], "entities": entities}]))
    data = recipe.data.model_copy(update={"train": "train.jsonl", "labels": LABELS})
    for kind in ("bert-tag", "bert-crf", "bert-span"):
        output = f"{recipe.output}-{kind}"
        metrics = train_baseline(recipe.model_copy(update={"data": data, "output": output}), kind, log=quiet)
        assert all(entry["losses"]["entities"] < 1000 for entry in metrics["history"])
