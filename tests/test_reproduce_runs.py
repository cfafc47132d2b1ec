"""The runs behind the paper's tables: finished, interrupted, foreign, failed."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import yaml
from conftest import VALID, conll
from reproduction import FakeTrainer, fake_run, quiet

from dpe_mner import InputError
from dpe_mner.reproduce import runner
from dpe_mner.reproduce.results import collect, score_runs
from dpe_mner.reproduce.runner import run_plan
from dpe_mner.reproduce.runs import differences, prepare_to_resume, state_of
from dpe_mner.reproduce.tables import DEFAULT
from dpe_mner.training.kept_epochs import seal
from dpe_mner.training.recipe import Recipe

# Runs: finished, interrupted, foreign


def test_finished_runs_are_not_trained_again_and_shared_ones_once(plan_for):
    trainer = FakeTrainer()
    run_plan(plan_for(tables=["2", "4"]), train=trainer, log=quiet)
    rows = [name for name, *_ in trainer.calls]
    assert rows.count(DEFAULT) == 1
    assert "reverse-grain" not in rows
    again = FakeTrainer()
    run_plan(plan_for(tables=["2", "4"]), train=again, log=quiet)
    assert again.calls == []


def test_only_trains_the_named_rows_but_shows_what_is_there(plan_for):
    fake_run(plan_for(tables=["2"]).rows["without-dmf"].runs[0].recipe, predictions=False)
    trainer, predicted = FakeTrainer(), []

    def predict(recipe, posts):
        predicted.append(recipe.output)
        fake_run(recipe)

    plan = plan_for(tables=["2"], only=["without-pmi"])
    run_plan(plan, train=trainer, predict=predict, log=quiet)
    assert [name for name, *_ in trainer.calls] == ["without-pmi"]
    assert [Path(folder).parent.name for folder in predicted] == ["without-dmf"]  # finished before, not yet predicted
    assert set(score_runs(plan)[0]) == {"without-pmi", "without-dmf"}


@pytest.mark.parametrize(
    ("override", "words"),
    [("training.epochs=9", "training.epochs 2 there, 9 planned"), ("settings.noise.spans=5", "settings.noise.spans")],
)
def test_a_run_of_another_recipe_is_never_taken_for_ours(plan_for, override, words):
    run_plan(plan_for(tables=["2"], only=["without-pmi"]), train=FakeTrainer(), log=quiet)
    with pytest.raises(InputError, match=words) as caught:
        plan_for(tables=["2"], overrides=[override])
    assert "--output" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_never_began_is_in_nobodys_way(plan_for):
    recipe = plan_for(tables=["2"]).rows[DEFAULT].runs[0].recipe
    fake_run(recipe)
    (Path(recipe.output) / "metrics.json").unlink()
    assert plan_for(tables=["2"], epochs=9).rows[DEFAULT].runs[0].state == "absent"
    (Path(recipe.output) / "history.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="holds another run"):
        plan_for(tables=["2"], epochs=9)


def test_paths_and_what_a_run_found_out_of_pictures_make_no_other_run():
    values = {"encoder": "x", "data": {"images": "a"}, "settings": {"pictures": {"grid": {"model": "m"}}}}
    planned = Recipe.model_validate(values)
    written = planned.model_dump()
    written |= {"name": "else", "output": "elsewhere"}
    written["data"] |= {"folder": "moved", "images": "there"}
    written["settings"]["pictures"]["grid"]["fingerprint"] = "abc"
    written["settings"]["fusion"]["coarse_image_size"] = 10
    assert differences(Recipe.model_validate(written), planned) == []
    written["settings"]["pictures"]["grid"]["pool"] = 2
    written["data"]["images"] = None
    assert [line.split()[0] for line in differences(Recipe.model_validate(written), planned)] == [
        "data.images",
        "settings.pictures.grid.pool",
    ]


def test_how_captions_are_read_makes_no_other_run_of_a_text_baseline():
    planned = Recipe.model_validate({"encoder": "x"})
    other = planned.model_dump()
    other["settings"]["encoder"]["caption_words"] = True
    other["settings"]["fusion"]["heads"] = 4
    found = Recipe.model_validate(other)
    assert differences(found, planned, baseline="bert-crf") == []
    assert len(differences(found, planned)) == 2
    other["settings"]["encoder"]["word_shapes"] = True
    assert len(differences(Recipe.model_validate(other), planned, baseline="bert-crf")) == 1


def test_a_run_on_other_labels_is_refused(plan_for, write):
    plan = plan_for(tables=["2"])
    recipe = plan.rows[DEFAULT].runs[0].recipe
    fake_run(recipe, train_sha256=plan.train.sha256, valid_sha256=plan.valid.sha256)
    assert plan_for(tables=["2"]).rows[DEFAULT].runs[0].state == "finished"
    write("valid.txt", conll(VALID[:-1]))
    with pytest.raises(InputError, match="another valid file"):
        plan_for(tables=["2"])


def test_a_run_of_another_version_is_named(plan_for):
    recipe = plan_for(tables=["2"]).rows[DEFAULT].runs[0].recipe
    fake_run(recipe)
    path = Path(recipe.output) / "recipe.yaml"
    path.write_text(path.read_text() + "novelty: 1\n")
    with pytest.raises(InputError, match=r"recipe\.yaml: unknown key 'novelty'.*another version"):
        plan_for(tables=["2"])


def test_a_run_of_an_earlier_version_has_the_defaults_of_what_it_did_not_know(plan_for):
    recipe = plan_for(tables=["2"]).rows[DEFAULT].runs[0].recipe
    fake_run(recipe)
    path = Path(recipe.output) / "recipe.yaml"
    values = yaml.safe_load(path.read_text())
    later = (
        ("encoder", "caption_layers"),
        ("fusion", "exchange"),
        ("fusion", "aggregator_mlp_ratio"),
        ("fusion", "strategy"),
    )
    for section, key in later:
        del values["settings"][section][key]
    path.write_text(yaml.safe_dump(values))
    assert plan_for(tables=["2"]).rows[DEFAULT].runs[0].state == "finished"
    with pytest.raises(InputError, match=r"aggregator_mlp_ratio 0\.0 there, 2\.0 planned"):
        plan_for(tables=["2"], overrides=["settings.fusion.aggregator_mlp_ratio=2"])


def test_predictions_are_all_a_finished_baseline_needs(plan_for):
    def planned(**options):
        return plan_for(tables=["1"], only=["bert-span"], **options)

    recipe = planned().rows["bert-span"].runs[0].recipe
    fake_run(recipe)  # no weights, no baseline.json
    assert run_plan(planned(), train=FakeTrainer(bert_span=AssertionError()), log=quiet) == []
    assert set(score_runs(planned())[0]) == {"bert-span"}
    foreign = planned(overrides=["settings.fusion.heads=2", "settings.noise.spans=5"])  # which no baseline reads
    assert foreign.rows["bert-span"].runs[0].state == "finished"
    for override in ("settings.encoder.word_shapes=true", "training.batch_size=3"):
        with pytest.raises(InputError, match=f"{override.split('=')[0]}.* planned"):
            planned(overrides=[override])
    (Path(recipe.output) / "predictions.jsonl").unlink()
    (failure,) = run_plan(planned(), train=FakeTrainer(), log=quiet)
    assert "no predictions.jsonl, and no baseline.json" in failure.message


@pytest.mark.parametrize(("name", "there"), [("bert-span", None), ("text-only", "bert-span")])
def test_a_run_of_another_kind_is_refused(plan_for, name, there):
    fake_run(plan_for(tables=["1"]).rows[name].runs[0].recipe, baseline=there)
    with pytest.raises(InputError, match=f"holds a run of {there or 'DPE-MNER'}"):
        plan_for(tables=["1"])


def test_figures_cut_off_while_written_are_no_figures(plan_for):
    recipe = plan_for(tables=["2"]).rows[DEFAULT].runs[0].recipe
    fake_run(recipe)
    (Path(recipe.output) / "history.jsonl").write_text("{}\n")
    (Path(recipe.output) / "metrics.json").write_text('{"f1": 8')
    assert state_of(recipe, {}) == "interrupted"


def test_word_vectors_must_be_those_planned(plan_for, write):
    plan = plan_for(tables=["1"])
    fake_run(plan.rows["bilstm-crf"].runs[0].recipe, settings={"bilstm": {"glove": None}})
    assert plan_for(tables=["1"]).rows["bilstm-crf"].runs[0].state == "finished"
    with pytest.raises(InputError, match="random word vectors"):
        plan_for(tables=["1"], glove=write("glove.txt", "a 1 2\n"))


def test_an_interrupted_run_goes_on_from_a_whole_checkpoint(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "history.jsonl").write_text("{}\n")
    whole, cut = tmp_path / "checkpoints" / "checkpoint-3", tmp_path / "checkpoints" / "checkpoint-6"
    for folder in (whole, cut):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x")
    (whole / "trainer_state.json").write_text("{}")
    seal(whole)
    assert prepare_to_resume(tmp_path)
    assert whole.is_dir()
    assert (tmp_path / "history.jsonl").exists()
    (whole / "trainer_state.json").unlink()
    assert not prepare_to_resume(tmp_path)  # nothing whole: begin anew, which needs a clean folder
    assert not any((tmp_path / name).exists() for name in ("history.jsonl", "best", "checkpoints/checkpoint-3"))


def test_a_killed_real_run_is_resumed_and_ends_as_if_it_had_not_been(plan_for, tmp_path):
    from dpe_mner.training.train import train

    options = {"tables": ["1"], "only": ["text-only"]}
    planned = plan_for(**options).rows["text-only"].runs[0].recipe
    train(planned.model_copy(update={"output": str(tmp_path / "whole")}), log=quiet)

    def kill_in_second_epoch(line):
        if "epoch 2/" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan_for(**options), train=runner.training_with(), log=kill_in_second_epoch)
    interrupted = plan_for(**options)
    assert interrupted.rows["text-only"].runs[0].state == "interrupted"
    lines = []
    assert run_plan(interrupted, train=runner.training_with(), log=lines.append) == []
    assert any("goes on" in line for line in lines)
    assert not any("epoch 1/" in line for line in lines)
    folder = Path(planned.output)
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    metrics = json.loads((folder / "metrics.json").read_text())
    (scored,) = score_runs(plan_for(**options))[0]["text-only"]
    assert scored.counts.report().overall.f1 == pytest.approx(metrics["f1"])


# Failures


def test_a_failing_run_leaves_the_others_alone(plan_for):
    trainer = FakeTrainer(default=RuntimeError("shapes\ndo not fit"), without_dmf=InputError("bad input"))
    plan = plan_for(tables=["2"])
    failures = run_plan(plan, train=trainer, log=quiet)
    assert [(f.row, f.message, f.ours) for f in failures] == [
        ("default", "RuntimeError: shapes", True),
        ("without-dmf", "bad input", False),
    ]
    assert len(trainer.calls) == len(plan.to_do)
    results = collect(plan, score_runs(plan)[0], {f.run: f.message for f in failures})[2]
    by_id = {result.row.id: result for result in results}
    assert (by_id[DEFAULT].status, by_id[DEFAULT].remark) == ("failed", "RuntimeError: shapes")
    assert by_id["without-pmi"].figures.f1 == 100
    assert by_id["without-pmi"].figures.delta is None


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("I/O error: os error 28")])
def test_a_full_disk_ends_the_work_with_one_line(plan_for, error):
    trainer = FakeTrainer(without_pmi=error)
    failures = run_plan(plan_for(tables=["2"]), train=trainer, log=quiet)
    assert [name for name, *_ in trainer.calls] == [DEFAULT, "without-pmi"]
    assert "no space left" in failures[0].message
    assert not failures[0].ours


def test_stopping_leaves_everything_to_go_on_from(plan_for):
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan_for(tables=["2"]), train=FakeTrainer(without_dmf=KeyboardInterrupt()), log=quiet)
    after = FakeTrainer()
    run_plan(plan_for(tables=["2"]), train=after, log=quiet)
    assert next(name for name, *_ in after.calls) == "without-dmf"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: lines[1:], "not the validation file's post"),
        (lambda lines: lines[:-1], "11 posts instead of 12"),
        (lambda lines: ["{", *lines[1:]], "jsonl:1: not a prediction"),
        (lambda lines: [lines[0].replace("PER", "THING"), *lines[1:]], "THING"),
        (lambda lines: [json.dumps(json.loads(line) | {"entities": []}) for line in lines], "metrics.json says"),
    ],
)
def test_predictions_that_do_not_fit_are_named_and_lose_no_other_run(plan_for, spoil, words):
    plan = plan_for(tables=["2"])
    run_plan(plan, train=FakeTrainer(), log=quiet)
    path = Path(plan.rows["without-pmi"].runs[0].recipe.output) / "predictions.jsonl"
    path.write_text("\n".join(spoil(path.read_text().splitlines())) + "\n")
    found, failed = score_runs(plan)
    assert "without-pmi" not in found
    assert DEFAULT in found
    assert words in failed["without-pmi seed 0"]
