"""The paper's tables: figures, plans, resumable runs, what is written, what goes wrong."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import FAST, POSTS, batch_of, conll, jsonl
from test_cli import assert_refused, run

from dpe_mner import InputError
from dpe_mner.baselines.build import KINDS
from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.score import count, score
from dpe_mner.reproduce import runner
from dpe_mner.reproduce.estimate import estimates
from dpe_mner.reproduce.experiment import choose_experiment
from dpe_mner.reproduce.notes import notes_of
from dpe_mner.reproduce.paper import DATASETS, TYPES, paper_figures
from dpe_mner.reproduce.plan import make_plan
from dpe_mner.reproduce.render import as_csv, as_dict, as_markdown, make_grid
from dpe_mner.reproduce.results import Run, TableResult, collect, figures_of, labels_of, score_runs
from dpe_mner.reproduce.runner import run_plan
from dpe_mner.reproduce.runs import differences, prepare_to_resume, state_of
from dpe_mner.reproduce.tables import DEFAULT, TABLES, TEXT_ONLY, choose_tables, row, rows_of
from dpe_mner.reproduce.vision import Vision, effective, vision_of
from dpe_mner.settings import FusionSettings, PictureSettings
from dpe_mner.training.recipe import Recipe, load_recipe
from dpe_mner.training.shipped import shipped_recipe

ROWS = rows_of(TABLES.values())
VALID = [replace(post, id=f"{post.id}{k}") for k in range(3) for post in POSTS]
GOLD = [gold_characters(post, words_of(post)) for post in VALID]


# The paper


def test_the_papers_figures_fit_each_other():
    for table, dataset in itertools.product(TABLES, DATASETS):
        assert paper_figures(table, DEFAULT, dataset).f1 == {"twitter2015": 77.56, "twitter2017": 87.90}[dataset]
    for line, dataset in itertools.product(TABLES[1].rows, DATASETS):
        figures = paper_figures(1, line.id, dataset)
        if figures.precision is not None:
            harmonic = 2 * figures.precision * figures.recall / (figures.precision + figures.recall)
            assert figures.f1 == pytest.approx(harmonic, abs=0.11)  # as printed; they are rounded, two of them oddly
        if figures.per_type:
            assert set(figures.per_type) == set(TYPES)
            assert min(figures.per_type.values()) < figures.f1 < max(figures.per_type.values())
    best = max(TABLES[1].rows, key=lambda line: paper_figures(1, line.id, "twitter2017").f1)
    assert best.id == DEFAULT


def test_every_row_has_the_papers_figures_but_those_it_does_not_print():
    lacking = {
        line.id
        for table in TABLES.values()
        for line in table.rows
        if not paper_figures(table.number, line.id, "twitter2015")
    }
    assert lacking == {"without-crm-token", "without-crm-sentence", "without-crm-span"}
    assert paper_figures(1, "chatgpt", "twitter2017").precision is None
    assert paper_figures(2, "without-dmf", "twitter2015").f1 == 76.92


# Rows


@pytest.mark.parametrize("line", ROWS, ids=lambda line: line.id)
def test_every_rows_overrides_are_settings_and_change_something(line):
    base = load_recipe(shipped_recipe("twitter2017-minilm"))
    changed = load_recipe(shipped_recipe("twitter2017-minilm"), line.overrides)
    assert (changed == base) is (line.id == DEFAULT)


def test_rows_of_one_id_are_one_run():
    for table in TABLES.values():
        for line in table.rows:
            twin = next((other for other in ROWS if other.id == line.id), line)
            assert (twin.overrides, twin.baseline, twin.epochs) == (line.overrides, line.baseline, line.epochs)
    assert len({line.id for line in ROWS}) == len(ROWS)


def test_tables_and_rows_are_chosen_by_name():
    tables, wanted = choose_tables([], ["without-pmi"])
    assert [table.number for table in tables] == [2]
    assert wanted == {"without-pmi"}
    assert [table.number for table in choose_tables(["4", "1", "4"], [])[0]] == [1, 4]
    for numbers, only, words in (
        (["5"], [], "there are 1, 2, 3, 4"),
        ([], ["without-pmj"], "did you mean 'without-pmi'"),
        (["1"], ["without-pmi"], "it is in --table 2"),
        ([], ["umt"], "no such row"),
    ):
        with pytest.raises(InputError, match=words):
            choose_tables(numbers, only)


# What is the default run by construction

CAPTIONS, CAPTIONS_TAGS = frozenset({"y_ct"}), frozenset({"y_ct", "y_ft"})
ALL = frozenset({"y_c", "y_ct", "y_f", "y_ft"})


@pytest.mark.parametrize(
    ("combinations", "same"),
    [
        ([CAPTIONS], {"without-fine", "reverse-grain", "reverse-gap", "reverse-both"}),
        ([CAPTIONS_TAGS, frozenset()], {"reverse-gap"}),
        ([frozenset({"y_ft"})], {"without-coarse", "reverse-grain", "reverse-gap", "reverse-both"}),
        ([CAPTIONS, frozenset({"y_ft"})], {"reverse-grain", "reverse-gap", "reverse-both"}),  # never in one post
        ([frozenset({"y_c", "y_ft"})], {"reverse-gap"}),  # no gap within a grain
        ([frozenset({"y_c", "y_ct"})], {"without-fine", "reverse-grain"}),
        ([ALL], set()),
        (
            [frozenset()],
            {"without-crm", "without-crm-token", "without-crm-sentence", "without-crm-span", "without-pmi"}
            | {"without-coarse", "without-fine", "reverse-grain", "reverse-gap", "reverse-both", "text-only"},
        ),
    ],
)
def test_rows_that_are_the_default_by_construction(combinations, same):
    vision = Vision(frozenset(combinations))
    file = shipped_recipe("twitter2017-minilm")
    base, why = effective(load_recipe(file), vision)
    found = set()
    for line in ROWS[1:]:
        if line.baseline is None:
            seen = Vision(frozenset([frozenset()])) if line.id == "text-only" else vision
            reduced, reasons = effective(load_recipe(file, line.overrides), seen)
            if not differences(reduced, base):
                found.add(line.id)
                assert reasons or why
    assert found == same


def test_the_flat_fusion_weighs_a_grain_even_when_it_is_alone():
    recipe = Recipe.model_validate(
        {"encoder": "x", "settings": {"fusion": {"decompose": False, "reverse_grain": True}}}
    )
    assert effective(recipe, Vision(frozenset([CAPTIONS])))[0].settings.fusion.reverse_grain
    idle = Recipe.model_validate({"encoder": "x", "settings": {"fusion": {"prioritize": False, "reverse_grain": True}}})
    assert not effective(idle, Vision(frozenset([ALL])))[0].settings.fusion.reverse_grain


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("line", TABLES[4].rows[1:], ids=lambda line: line.id)
def test_construction_holds_in_the_model_to_the_bit(build, line, tags):
    posts = [replace(post, caption=post.caption or "a thing", tags=("person",) if tags else None) for post in POSTS]
    changes = {
        key.removeprefix("settings.fusion."): yaml.safe_load(value)
        for key, value in (o.split("=") for o in line.overrides)
    }

    def loss(**fusion):
        model = build(fusion=fusion)
        return float(model(batch_of(model, posts, gold=True), torch.Generator().manual_seed(0)).loss.detach())

    recipe = Recipe.model_validate({"encoder": "x", "settings": {"fusion": changes}})
    reduced, _ = effective(recipe, vision_of(posts, PictureSettings()))
    same = reduced.settings.fusion == FusionSettings()
    assert (loss(**changes) == loss()) is same


def test_what_is_made_of_pictures_counts_as_vision():
    made = PictureSettings.model_validate({"grid": {"model": "x"}, "tags": {"model": "x"}})
    vision = vision_of([replace(POSTS[2], caption=None, tags=None)], made)
    assert vision.kinds == {"y_c", "y_ft"}
    assert vision.two_grains
    assert not vision.across_gap


# Experiments and plans


@pytest.fixture
def recipe_file(tmp_path, encoders, write) -> Path:
    write("train.txt", conll(POSTS))
    write("valid.txt", conll(VALID))
    write("visual.jsonl", jsonl([{"image_id": p.id, "caption": "a player"} for p in (*POSTS, *VALID)]))
    values = {
        "encoder": encoders("bert-uncased"),
        "data": {"folder": str(tmp_path), "visual_text": "visual.jsonl"},
        "settings": FAST,
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "encoder_learning_rate": 1e-3},
    }
    return write("twitter2017-tiny.yaml", yaml.safe_dump(values))


@pytest.fixture
def plan_for(recipe_file, tmp_path):
    """A plan of the tiny recipe; options as the command line takes them."""

    def make(*, tables=(), only=(), **options):
        experiment = choose_experiment(output=tmp_path / "out", recipe=recipe_file, **options)
        return make_plan(experiment, *choose_tables(list(tables), list(only)))

    return make


def fake_run(recipe, *, lost=0, predictions=True, **extra):
    """What a training run leaves, without the training: all gold entities but ``lost`` of them are found."""
    folder = Path(recipe.output)
    kind = folder.parent.name
    own = {"baseline": kind} if kind in KINDS else {}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump()), encoding="utf-8")
    found, left = [], lost
    for entities in GOLD:
        kept = sorted(entities)[left:] if left else sorted(entities)
        left = max(left - len(entities), 0)
        found.append(kept)
    report = score(GOLD, found)
    rows = [
        {"id": post.id, "entities": [{"start": a, "end": b, "label": c} for a, b, c in spans], "warnings": []}
        for post, spans in zip(VALID, found, strict=True)
    ]
    if predictions:
        (folder / "predictions.jsonl").write_text(jsonl(rows), encoding="utf-8")
    (folder / "metrics.json").write_text(
        json.dumps({"f1": report.overall.f1, "seconds": 60.0} | own | extra), encoding="utf-8"
    )


class FakeTrainer:
    """Remembers what it was asked for; rows lose as many entities as ``lost`` says."""

    def __init__(self, **lost):
        self.lost = {name.replace("_", "-"): number for name, number in lost.items()}
        self.calls = []

    def __call__(self, recipe, row, *, resume, log, progress):
        self.calls.append((row.id, recipe.training.seed, resume))
        lost = self.lost.get(row.id, 0)
        if isinstance(lost, BaseException):
            raise lost
        fake_run(recipe, lost=lost)


def quiet(_: str) -> None:
    pass


def test_the_folder_names_data_set_and_encoder(tmp_path):
    def name(**options):
        return choose_experiment(output=tmp_path, **options).folder.name

    assert name() == "twitter2017-minilm"
    assert name(dataset="twitter2015", encoder="bert-base-cased") == "twitter2015-bert-base-cased"
    assert name(encoder="org/some model") == "twitter2017-some-model"
    foreign = choose_experiment(output=tmp_path, encoder="org/x", data=Path("it's here"), epochs=7)
    recipe = foreign.recipe(row("a", "A"), 3)
    assert (recipe.encoder, recipe.data.folder, recipe.training.epochs) == ("org/x", "it's here", 7)
    assert recipe.training.seed == 3
    assert recipe.settings == load_recipe(shipped_recipe("twitter2017-minilm")).settings
    assert recipe.output == str(tmp_path / "twitter2017-x" / "a" / "seed3")


def test_a_recipe_of_ones_own_takes_the_named_encoder(recipe_file, tmp_path):
    named = choose_experiment(output=tmp_path, recipe=recipe_file, encoder="bert-base-cased")
    assert named.recipe(row("a", "A"), 0).encoder == "bert-base-cased"
    assert named.dataset == "twitter2017"  # told from its name


def test_rows_with_more_epochs_and_a_shared_store_of_pictures(tmp_path, write):
    values = {"encoder": "x", "data": {"images": "photos"}, "settings": {"pictures": {"tags": {"model": "y"}}}}
    file = write("r.yaml", yaml.safe_dump(values | {"training": {"epochs": 3}}))
    experiment = choose_experiment(output=tmp_path, recipe=file, dataset="twitter2015")
    longer, plain = row("a", "A", epochs=5), row("b", "B", *TEXT_ONLY)
    assert experiment.recipe(longer, 0).training.epochs == 15
    assert experiment.recipe(longer, 0).data.features == str(tmp_path / "twitter2015-x" / "pictures.store")
    assert experiment.recipe(plain, 0).data.features is None
    assert experiment.recipe(plain, 0).settings.pictures == PictureSettings()


def test_a_plan_holds_every_row_once(plan_for):
    plan = plan_for(seeds="0,1")
    assert set(plan.rows) == {line.id for line in ROWS}
    names = [run.name for run in plan.to_do]
    assert len(names) == len(set(names))
    assert names[0] == "default seed 0"
    assert [run.seed for run in plan.to_do] == sorted(run.seed for run in plan.to_do)
    assert plan.rows["reverse-both"].same_as == DEFAULT
    assert "no fine-grained representation in this data" in plan.rows["without-fine"].reason
    assert not plan.rows["without-fine"].runs
    assert len(plan.rows["without-coarse"].runs) == 2


def test_what_the_recipe_says_already_is_not_trained_again(plan_for):
    plan = plan_for(tables=["2"], overrides=["settings.loss.align_span=0"])
    assert plan.rows["without-crm-span"].same_as == DEFAULT
    assert plan.rows["without-crm"].same_as is None


def test_tags_make_the_fine_grain(plan_for, write):
    write("visual.jsonl", jsonl([{"image_id": p.id, "caption": "x", "tags": ["ball"]} for p in VALID]))
    plan = plan_for(tables=["4"])
    assert plan.rows["reverse-gap"].same_as == DEFAULT
    assert plan.rows["without-fine"].same_as is None
    assert plan.rows["reverse-both"].same_as == "reverse-grain"


def test_posts_with_captions_of_their_own_have_no_text_only_run(plan_for, write):
    rows = [{"id": "1", "words": ["Paris"], "caption": "x", "entities": [{"start": 0, "end": 1, "label": "LOC"}]}]
    write("train.jsonl", jsonl(rows))
    plan = plan_for(tables=["1"], overrides=["data.train=train.jsonl"])
    assert "captions or tags" in plan.rows["text-only"].problem
    assert plan.rows["bert-crf"].problem is None


def test_a_row_that_cannot_be_parsed_leaves_the_others(plan_for, monkeypatch):
    broken = replace(TABLES[2], rows=(*TABLES[2].rows, row("mine", "Mine", "settings.fusion.no_such_key=1")))
    monkeypatch.setitem(TABLES, 2, broken)
    plan = plan_for(tables=["2"])
    assert "no_such_key" in plan.rows["mine"].problem
    assert plan.rows["without-pmi"].runs
    with pytest.raises(InputError, match="no_such_key"):  # in all rows it is the user's slip
        plan_for(tables=["2"], overrides=["settings.fusion.no_such_key=1"])


def test_estimates_come_from_finished_runs_before_any_probe(plan_for):
    plan = plan_for(tables=["1"], seeds="0,1")
    probed = estimates(plan, lambda _: 100.0)
    assert (probed["default seed 0"], probed["bert-crf seed 1"]) == (100.0, None)
    fake_run(plan.rows["text-only"].runs[0].recipe)
    fake_run(plan.rows["bert-crf"].runs[0].recipe, seconds=5.0)

    def never(_):
        raise AssertionError("a finished run tells")

    known = estimates(plan_for(tables=["1"], seeds="0,1"), never)
    assert known["default seed 0"] == 60.0
    assert known["bert-crf seed 1"] == 5.0
    assert known["bert-span seed 0"] is None
    assert "text-only seed 0" not in known


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
        ("heads", "span_table"),
        ("reasoning", "table_vote"),
        ("fusion", "strategy"),
    )
    for section, key in later:
        del values["settings"][section][key]
    path.write_text(yaml.safe_dump(values))
    assert plan_for(tables=["2"]).rows[DEFAULT].runs[0].state == "finished"
    with pytest.raises(InputError, match=r"span_table 0 there, 4 planned"):
        plan_for(tables=["2"], overrides=["settings.heads.span_table=4"])


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
    assert prepare_to_resume(tmp_path)
    assert whole.is_dir()
    assert not cut.exists()
    assert (tmp_path / "history.jsonl").exists()
    (whole / "trainer_state.json").unlink()
    assert not prepare_to_resume(tmp_path)  # nothing whole: begin anew, which needs a clean folder
    assert not any((tmp_path / name).exists() for name in ("history.jsonl", "best", "checkpoints/checkpoint-3"))


def test_a_killed_real_run_is_resumed_and_ends_as_if_it_had_not_been(plan_for, tmp_path):
    from dpe_mner.training.run import train

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


# Figures


def counts_of(*posts):
    """Counts of posts given as (correct, predicted, gold)."""
    gold = [{(k, k + 1, "X") for k in range(g)} for _, _, g in posts]
    found = [[(k, k + 1, "X") for k in range(c)] + [(90 + k, 99, "X") for k in range(p - c)] for c, p, _ in posts]
    return count(gold, found, ["X"])


def test_mean_spread_and_difference_over_shared_seeds():
    good, bad = counts_of((1, 1, 1), (1, 1, 1)), counts_of((1, 1, 1), (0, 0, 1))
    f1 = 100 * 2 / 3
    figures = figures_of([Run(0, good, 1.0), Run(1, bad, 1.0)], [Run(1, good, 1.0), Run(2, bad, 1.0)], 0.5)
    assert figures.f1 == pytest.approx((100 + f1) / 2)
    assert figures.spread == pytest.approx((100 - f1) / 2**0.5)
    assert figures.delta == pytest.approx(f1 - 100)  # seed 1 alone is in both
    assert figures.recall == pytest.approx(75)
    alone = figures_of([Run(0, good, 1.0)], [], None)
    assert (alone.spread, alone.delta) == (None, None)


@pytest.fixture
def written(plan_for):
    """Tables 1 and 4 of a fake experiment of two seeds, as (grid, values) by number; BERT-CRF fails."""
    trainer = FakeTrainer(without_coarse=3, text_only=1, bert_crf=InputError("no CRF|here"))
    plan = plan_for(tables=["1", "4"], seeds="0,1")
    failures = run_plan(plan, train=trainer, log=quiet)
    found = collect(plan, score_runs(plan)[0], {f.run: f.message for f in failures})
    made = {}
    for table in plan.tables:
        rows = found[table.number]
        result = TableResult(table, "twitter2017", labels_of(plan), rows, notes_of(plan, table, rows), (0, 1))
        made[table.number] = make_grid(result), as_dict(result, plan, command="dpe-mner reproduce")
    return made


def test_markdown_csv_and_json_say_the_same(written):
    for grid, values in written.values():
        markdown = as_markdown(grid, values)
        table = [line for line in markdown.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1
        cells = {}
        for line in table:
            name, *others = (cell.strip() for cell in line.strip("|").split(" | "))
            cells.setdefault(name, others)
        header = next(iter(cells.values()))
        lines = {line["row"]: line for line in csv.DictReader(io.StringIO(as_csv(values)))}
        assert list(lines) == [line["row"] for line in values["rows"]]
        for line in values["rows"]:
            flat = lines[line["row"]]
            assert flat["f1"] == ("" if line["f1"] is None else str(line["f1"]))
            assert flat["paper_f1"] == ("" if line["paper"] is None else str(line["paper"]["f1"]))
            assert flat["remark"] == line["remark"]
            if line["status"] == "run":
                assert cells[line["label"]][header.index("F1")] == f"{line['f1']:.2f}"
                assert flat["seeds"] == "0 1"
        assert json.loads(json.dumps(values)) == values
        for text in (*values["notes"], values["command"], values["valid_sha256"], values["torch_version"]):
            assert text in markdown


def test_tables_say_what_they_are_not(written):
    grid, values = written[4]
    by_id = {line["row"]: line for line in values["rows"]}
    assert by_id["reverse-gap"]["remark"].startswith("same as default: no image features beside captions")
    assert by_id["reverse-gap"]["f1"] is None
    assert by_id["without-coarse"]["diff"] < 0
    assert 0 < by_id["without-coarse"]["p"] <= 1
    assert not values["partial"]
    notes = " ".join(values["notes"])
    for words in (
        "validation file (12 posts, 18 entities",
        "the paper's is bert-base-cased",
        "Visual representations here: captions; the paper also has image features",
        "2 epochs a run; the paper has 100",
        "Seeds 0, 1",
        "settings.noise.spans 12 (150)",
    ):
        assert words in notes
    assert "**" not in as_markdown(grid, values)  # no winner is declared
    grid, values = written[1]
    assert values["partial"]
    assert "partial" in grid.title
    assert next(line for line in values["rows"] if line["row"] == "bert-crf")["remark"] == "no CRF|here"
    assert "BiLSTM-CRF starts from random weights, so it has 5 times the epochs, 10." in values["notes"]
    assert not any("HVPNet" in line.cells[0] for line in grid.lines)  # shown on demand


def test_one_seed_has_no_spread(plan_for):
    plan = plan_for(tables=["2"])
    run_plan(plan, train=FakeTrainer(without_pmi=2), log=quiet)
    rows = collect(plan, score_runs(plan)[0], {})[2]
    assert all(result.figures.spread is None for result in rows)
    notes = " ".join(map(str, notes_of(plan, TABLES[2], rows)))
    assert "Seed 0 alone, so the spread over seeds is unknown" in notes


# The command


def test_a_row_from_the_command_line_with_the_real_trainer(recipe_file, tmp_path):
    arguments = ("reproduce", "--recipe", recipe_file, "--output", tmp_path / "out", "--epochs", "1")
    first = run(*arguments, "--table", "2", "--only", "without-pmi")
    assert first.returncode == 0, first.stderr
    assert b"1 runs to train, about" in first.stderr
    (folder,) = (tmp_path / "out").iterdir()
    assert {path.name for path in (folder / "tables").iterdir()} == {"table2.md", "table2.csv", "table2.json"}
    values = json.loads((folder / "tables" / "table2.json").read_text())
    measured = {line["row"]: line["f1"] for line in values["rows"]}
    metrics = json.loads((folder / "without-pmi" / "seed0" / "metrics.json").read_text())
    assert measured["without-pmi"] == pytest.approx(metrics["f1"], abs=1e-4)
    assert measured[DEFAULT] is None
    assert values["command"].startswith("dpe-mner reproduce --recipe")
    assert b"w/o PMI" in first.stdout
    rows = [
        json.loads(line) for line in (folder / "without-pmi" / "seed0" / "predictions.jsonl").read_text().splitlines()
    ]
    assert [line["id"] for line in rows] == [post.id for post in VALID]
    weights = folder / "without-pmi" / "seed0" / "model.safetensors"
    before = os.stat(weights).st_mtime_ns
    again = run(*arguments, "--only", "without-pmi", "--quiet")
    assert again.returncode == 0
    assert again.stderr == b""
    assert os.stat(weights).st_mtime_ns == before


def test_a_dry_run_lists_everything_and_writes_nothing(recipe_file, tmp_path):
    result = run("reproduce", "--recipe", recipe_file, "--output", tmp_path / "out", "--dry-run", "--seeds", "0,1")
    assert result.returncode == 0, result.stderr
    shown = result.stderr.decode()
    for line in ROWS:
        assert line.id in shown
    assert "same as default" in shown
    assert "whose time is not known" in shown
    assert not (tmp_path / "out").exists()


def test_a_failure_is_one_line_and_exit_2_and_the_tables_are_there(recipe_file, tmp_path, monkeypatch):
    trainer = FakeTrainer(without_pmi=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(runner, "training_with", lambda glove=None: trainer)
    arguments = ("reproduce", "--recipe", recipe_file, "--output", tmp_path / "out", "--table", "2", "--quiet")
    error = assert_refused(run(*arguments), "no space left", "kept")
    assert error.count("\n") == 1
    values = json.loads(next((tmp_path / "out").glob("*/tables/table2.json")).read_text())
    assert values["partial"]
    assert values["rows"][0]["f1"] == 100
    trainer.lost["without-pmi"] = RuntimeError("a fault of ours")
    broken = run(*arguments)
    assert broken.returncode == 1
    assert b"a fault of ours" in broken.stderr
    assert len(list((tmp_path / "out").glob("*/without-*/seed0/metrics.json"))) == len(TABLES[2].rows) - 2


def test_stopping_says_that_the_same_command_goes_on(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "training_with", lambda glove=None: FakeTrainer(default=KeyboardInterrupt()))
    result = run("reproduce", "--recipe", recipe_file, "--output", tmp_path / "out", "--table", "2", "--quiet")
    assert result.returncode == 130
    assert b"the same command goes on" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--table", "5"], ["'5'", "1, 2, 3, 4"]),
        (["--only", "defualt"], ["did you mean 'default'"]),
        (["--dataset", "twitter2016"], ["did you mean", "twitter2015"]),
        (["--seeds", "0,x"], ["--seeds", "separated by commas"]),
        (["--seeds", "-1"], ["--seeds"]),
        (["--epochs", "0"], ["training.epochs"]),
        (["--data", "nowhere"], ["nowhere", "--data FOLDER"]),
        (["--recipe", "nowhere.yaml"], ["nowhere.yaml"]),
        (["--glove", "nowhere.txt"], ["nowhere.txt"]),
        (["--set", "training.seed=3"], ["--seeds"]),
        (["--set", "output=x"], ["--output"]),
        (["--set", "training.epoch=3"], ["did you mean 'epochs'"]),
        (["--encoder", "./no/such/encoder", "--table", "2", "--only", "default"], ["no/such/encoder"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, words, tmp_path, recipe_file):
    given = [] if {"--recipe", "--data"} & set(arguments) else ["--recipe", recipe_file]
    error = assert_refused(run("reproduce", "--output", tmp_path / "out", *given, *arguments, cwd=tmp_path), *words)
    assert "reproduce" in error or error.count("\n") == 1


def test_a_recipe_that_does_not_tell_its_data_set(write, tmp_path, recipe_file):
    file = write("mine.yaml", recipe_file.read_text().replace(str(tmp_path), "."))
    assert_refused(run("reproduce", "--recipe", file, "--output", tmp_path / "out", cwd=tmp_path), "--dataset")


def test_shipped_recipes_are_found_and_go_into_the_wheel():
    assert load_recipe(shipped_recipe("twitter2015-minilm")).data.label_map == {"OTHER": "MISC"}
    with pytest.raises(InputError, match="did you mean 'twitter2017'"):
        shipped_recipe("twitter217")
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert '"recipes" = "dpe_mner/assets/recipes"' in project
