"""The paper's tables: what is printed, what is planned, what need not be trained."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import POSTS, VALID, batch_of, jsonl
from reproduction import fake_run

from dpe_mner import InputError
from dpe_mner.reproduce.estimate import estimates
from dpe_mner.reproduce.experiment import choose_experiment
from dpe_mner.reproduce.paper import DATASETS, TYPES, paper_figures
from dpe_mner.reproduce.runs import differences
from dpe_mner.reproduce.tables import DEFAULT, TABLES, TEXT_ONLY, choose_tables, row, rows_of
from dpe_mner.reproduce.vision import Vision, effective, vision_of
from dpe_mner.settings import FusionSettings, PictureSettings
from dpe_mner.training.recipe import Recipe, load_recipe
from dpe_mner.training.shipped import shipped_recipe

ROWS = rows_of(TABLES.values())


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
    assert (changed == base) is (line.id == DEFAULT or (line.baseline is not None and not line.overrides))


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
        ([], ["umd"], "did you mean 'umt'"),
        ([], ["gpt-4"], "no such row"),
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


@pytest.mark.parametrize("dataset", DATASETS)
def test_with_pictures_the_papers_model_is_the_recipe_that_reads_them(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it's pictures").mkdir()
    experiment = choose_experiment(
        output=tmp_path, dataset=dataset, encoder="bert-base-cased", data=Path("d"), images=Path("it's pictures")
    )
    recipe, raw = experiment.recipe(row("a", "A"), 0), load_recipe(shipped_recipe(f"{dataset}-pictures"))
    assert recipe.settings == raw.settings
    assert recipe.data == raw.data.model_copy(update={"folder": "d", "images": str(tmp_path / "it's pictures")})
    assert experiment.folder.name == f"{dataset}-bert-base-cased-pictures"
    assert experiment.paper_recipe().encoder == recipe.encoder
    assert experiment.recipe(row("b", "B", *TEXT_ONLY), 0).data.images is None


def test_a_recipe_of_ones_own_that_reads_pictures_takes_their_folder(tmp_path, write):
    values = {"encoder": "x", "settings": {"pictures": {"tags": {"model": "y"}}}}
    file = write("r.yaml", yaml.safe_dump(values))
    experiment = choose_experiment(output=tmp_path / "out", recipe=file, dataset="twitter2015", images=tmp_path)
    assert experiment.recipe(row("a", "A"), 0).data.images == str(tmp_path)
    assert experiment.folder.name == "twitter2015-x"


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
