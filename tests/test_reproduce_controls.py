"""Controls in the paper's tables: computed once a run, kept beside it, shown where there are any."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import POSTS, VALID, jsonl
from reproduction import FakeTrainer, counts_of, fake_run, quiet
from rich.console import Console

from dpe_mner import InputError
from dpe_mner.commands.reproduce import _show_grid
from dpe_mner.evaluation.answers import evaluate_posts
from dpe_mner.evaluation.exchanged import exchanged
from dpe_mner.evaluation.mean_state import mean_state_answers
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.reproduce import runner
from dpe_mner.reproduce.controls import Controls, control_run, controls_lacking, read_controls
from dpe_mner.reproduce.notes import notes_of
from dpe_mner.reproduce.predictions import model_of_run, predict_run
from dpe_mner.reproduce.render import as_csv, as_dict, as_markdown, make_grid
from dpe_mner.reproduce.results import Run, TableResult, collect, figures_of, labels_of, score_runs
from dpe_mner.reproduce.runner import posts_of, run_plan
from dpe_mner.reproduce.tables import DEFAULT


@pytest.fixture
def rich_data(recipe_file, write):
    """Captions and tags that differ from post to post."""
    rows = [
        {"image_id": post.id, "caption": f"picture {post.id}", "tags": ["ball", post.id]} for post in (*POSTS, *VALID)
    ]
    write("visual.jsonl", jsonl(rows))


def test_controls_of_real_runs(rich_data, plan_for):
    options = {"tables": ["1"], "only": [DEFAULT, "text-only", "bert-span"], "epochs": 1}
    plan, lines = plan_for(**options), []
    assert run_plan(plan, train=runner.training_with(), log=lines.append) == []
    folders = {name: Path(plan.rows[name].runs[0].recipe.output) for name in options["only"]}
    assert not (folders["bert-span"] / "controls.json").exists()
    assert sum(line.endswith(": controls") for line in lines) == 2
    stored = json.loads((folders[DEFAULT] / "controls.json").read_text())
    assert list(stored["exchanged"]) == ["captions", "tags", "all"]
    assert stored["own"]["f1"] == pytest.approx(stored["f1_of_run"])
    assert all(
        set(found) >= {"f1", "changed", "p_value"} for found in (stored["mean_state"], *stored["exchanged"].values())
    )
    model, posts = model_of_run(plan.rows[DEFAULT].runs[0].recipe), plan.valid.posts
    taken = read_controls(folders[DEFAULT])
    for part, f1 in taken.exchanged.items():
        assert f1 == evaluate_posts(model, exchanged(posts, part), PredictionOptions(batch_size=64)).overall.f1
    mean = mean_state_answers(model, posts, PredictionOptions())
    assert taken.mean_state == pytest.approx(mean.control.report.overall.f1)
    bare = read_controls(folders["text-only"])
    assert bare.exchanged == {}
    assert bare.mean_state is not None

    def never(recipe, posts):
        raise AssertionError("computed twice")

    assert run_plan(plan_for(**options), train=FakeTrainer(), control=never, log=quiet) == []
    runs = score_runs(plan_for(**options))[0]
    assert runs[DEFAULT][0].controls == taken
    assert runs["bert-span"][0].controls is None

    # Other figures, e.g. after a new calibration, or a damaged file: they are made anew.
    metrics = folders[DEFAULT] / "metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"f1": stored["f1_of_run"] + 0.1}))
    assert read_controls(folders[DEFAULT]) is None
    (folders["text-only"] / "controls.json").write_text("{")
    made = []
    assert (
        run_plan(plan_for(**options), train=FakeTrainer(), control=lambda r, _: made.append(r.output), log=quiet) == []
    )
    assert made == [str(folders[DEFAULT]), str(folders["text-only"])]


def test_a_run_without_captions_is_not_given_any(rich_data, plan_for):
    plan = plan_for(tables=["1"])
    by_id = {name: row.runs[0] for name, row in plan.rows.items() if row.runs}  # others need pictures
    assert all(post.caption and post.tags for post in posts_of(by_id[DEFAULT], plan))
    assert not any(post.caption or post.tags for post in posts_of(by_id["text-only"], plan))
    assert [post.id for post in posts_of(by_id["text-only"], plan)] == [post.id for post in VALID]
    given = []
    for run in by_id.values():
        fake_run(run.recipe, predictions=False)
    again = plan_for(tables=["1"])
    run_plan(again, train=FakeTrainer(), predict=lambda recipe, posts: given.append((recipe, posts)), log=quiet)
    for recipe, posts in given:
        assert any(post.caption for post in posts) == (recipe.data.visual_text is not None)


def test_nothing_to_hold_against_is_no_control(plan_for, write):
    plan = plan_for(tables=["2"], only=[DEFAULT], epochs=1)  # all captions are "a player"
    run_plan(plan, train=runner.training_with(), control=lambda *_: None, log=quiet)
    recipe = plan.rows[DEFAULT].runs[0].recipe
    control_run(recipe, [replace(POSTS[0], caption=None, tags=None)])  # and a single post has no mean
    assert read_controls(Path(recipe.output)) == Controls({}, None)
    control_run(recipe, plan.valid.posts)
    assert read_controls(Path(recipe.output)).exchanged == {}


def test_runs_that_cannot_be_controlled_keep_their_figures(plan_for):
    plan = plan_for(tables=["2"])
    assert run_plan(plan, train=FakeTrainer(), control=lambda *_: pytest.fail("no weights"), log=quiet) == []
    folder = Path(plan.rows[DEFAULT].runs[0].recipe.output)
    (folder / "model.safetensors").write_bytes(b"of another version")
    assert controls_lacking(folder)
    lines = []
    assert run_plan(plan_for(tables=["2"]), train=FakeTrainer(), log=lines.append) == []
    assert any(line.startswith("warning: default seed 0: no controls: ") and "\n" not in line for line in lines)
    assert score_runs(plan)[0][DEFAULT][0].counts.report().overall.f1 == 100

    def broken(recipe, posts):
        raise RuntimeError("shapes")

    (failure,) = run_plan(plan_for(tables=["2"]), train=FakeTrainer(), control=broken, log=quiet)
    assert (failure.run, failure.ours) == ("default seed 0", True)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"f1_of_run": 1}', '{"f1_of_run": 100.0, "exchanged": {"tags": 3}}', "null"]
)
def test_a_file_that_holds_no_controls(tmp_path, content):
    (tmp_path / "metrics.json").write_text('{"f1": 100.0}')
    (tmp_path / "controls.json").write_text(content)
    assert read_controls(tmp_path) is None


def test_means_over_seeds_are_of_what_every_seed_has():
    counts = counts_of((1, 1, 1))
    full, other = Controls({"captions": 50.0, "all": 40.0}, 30.0), Controls({"all": 60.0}, None)

    def of(*controls):
        figures = figures_of([Run(k, counts, 1.0, one) for k, one in enumerate(controls)], [], None)
        return figures.exchanged, figures.mean_state

    assert of(full) == ({"captions": 50.0, "all": 40.0}, 30.0)
    assert of(full, full) == ({"captions": 50.0, "all": 40.0}, 30.0)
    assert of(full, other) == ({"all": 50.0}, None)
    assert of(full, None) == ({}, None)


def tables_of(plan):
    found = collect(plan, score_runs(plan)[0], {})
    made = {}
    for table in plan.tables:
        rows = found[table.number]
        result = TableResult(table, "twitter2017", labels_of(plan), rows, notes_of(plan, table, rows), (0,))
        made[table.number] = make_grid(result), as_dict(result, plan, command="dpe-mner reproduce")
    return made


@pytest.fixture
def controlled(plan_for):
    """Tables 1, 2 and 4 of fake runs with controls: none for baselines, no exchange for text only."""
    plan = plan_for(tables=["1", "2", "4"])

    class Trainer(FakeTrainer):
        def __call__(self, recipe, row, **options):
            super().__call__(recipe, row, **options)
            folder = Path(recipe.output)
            if row.baseline is not None:
                return
            mixed = {} if row.id == "text-only" else {"captions": {"f1": 71.25}, "all": {"f1": 70.5}}
            values = {"f1_of_run": json.loads((folder / "metrics.json").read_text())["f1"], "exchanged": mixed}
            (folder / "controls.json").write_text(json.dumps(values | {"mean_state": {"f1": 12.0}}))

    run_plan(plan, train=Trainer(without_pmi=2, text_only=1), log=quiet)
    return tables_of(plan_for(tables=["1", "2", "4"]))


def cells_of(markdown):
    """By label, what each row holds by column; the first of rows of one label."""
    table = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"
    ]
    found = {}
    for cells in table[2:]:
        found.setdefault(cells[0], dict(zip(table[0], cells, strict=False)))
    return found


def test_tables_show_the_controls(controlled):
    grid, values = controlled[1]
    cells = cells_of(as_markdown(grid, values))
    assert (cells["DPE-MNER"]["exchanged"], cells["DPE-MNER"]["mean state"]) == ("70.50", "12.00")
    assert (cells["BERT-Iterative"]["exchanged"], cells["BERT-Iterative"]["mean state"]) == ("-", "12.00")
    assert (cells["BERT-CRF"]["exchanged"], cells["BERT-CRF"]["mean state"]) == ("-", "-")
    assert cells["paper"].get("exchanged", "") == ""
    by_id = {line["row"]: line for line in values["rows"]}
    assert by_id[DEFAULT]["exchanged"] == 70.5
    assert by_id[DEFAULT]["exchanged_parts"] == {"captions": 71.25}
    assert by_id[DEFAULT]["controls_by_seed"] == {
        "0": {"exchanged": {"captions": 71.25, "all": 70.5}, "mean_state": 12.0}
    }
    assert (by_id["bert-crf"]["exchanged"], by_id["bert-crf"]["mean_state"]) == (None, None)
    assert any(note.startswith("exchanged: F1 of the same trained models") for note in values["notes"])
    lines = {line["row"]: line for line in csv.DictReader(io.StringIO(as_csv(values)))}
    assert (lines[DEFAULT]["exchanged"], lines[DEFAULT]["exchanged_captions"]) == ("70.5", "71.25")
    assert (lines[DEFAULT]["exchanged_tags"], lines[DEFAULT]["mean_state"]) == ("", "12.0")
    assert lines["bert-crf"]["mean_state"] == lines["chatgpt"]["mean_state"] == ""
    grid, values = controlled[4]
    same = cells_of(as_markdown(grid, values))["Reverse Gap"]
    assert (same["F1"], same["exchanged"]) == ("= default", "")


@pytest.mark.parametrize("number", [1, 2, 4])
def test_tables_with_controls_fit_a_terminal(controlled, number):
    grid, _ = controlled[number]
    for width, whole in ((80, False), (200, True)):
        stream = io.StringIO()
        _show_grid(grid, Console(file=stream, width=width))
        shown = stream.getvalue()
        assert "…" not in shown
        assert all(len(line) <= width for line in shown.splitlines())
        assert "12.00" in shown
        if number == 1:
            assert ("MISC" in shown.replace("MISC: in the files", "")) == whole
            assert ("in the files" in shown) != whole


def test_runs_without_controls_have_no_columns_for_them(plan_for):
    plan = plan_for(tables=["2"])
    run_plan(plan, train=FakeTrainer(), log=quiet)
    grid, values = tables_of(plan_for(tables=["2"]))[2]
    assert not {"exchanged", "mean state"} & set(grid.header)
    assert not any("mean state" in note for note in values["notes"])
    (line,) = (line for line in csv.DictReader(io.StringIO(as_csv(values))) if line["row"] == DEFAULT)
    assert (line["exchanged"], line["mean_state"]) == ("", "")


def test_stored_tables_of_an_earlier_version_still_render(controlled):
    _, values = controlled[2]
    new = {"exchanged", "exchanged_parts", "mean_state", "controls_by_seed"}
    older = values | {"rows": [{k: v for k, v in line.items() if k not in new} for line in values["rows"]]}
    lines = list(csv.DictReader(io.StringIO(as_csv(older))))
    assert [line["f1"] for line in lines] == [str(line["f1"]) for line in values["rows"]]
    assert {line["exchanged"] for line in lines} == {""}
    for path in sorted((Path(__file__).parent.parent / "results").glob("*/table*.json")):
        stored = json.loads(path.read_text())
        assert len(list(csv.DictReader(io.StringIO(as_csv(stored))))) == len(stored["rows"])


def test_what_the_paper_does_not_print_claims_no_figures(controlled):
    grid, values = controlled[2]
    labels = [line.cells[0] for line in grid.lines]
    heading = labels.index("No printed figures")
    assert labels[heading + 1 :] == ["w/o CRM (token)", "w/o CRM (sentence)", "w/o CRM (span)"]
    ours = {line["row"] for line in values["rows"] if line["paper"] is None}
    assert ours == {"without-crm-token", "without-crm-sentence", "without-crm-span"}
    notes = " ".join(values["notes"])
    assert "w/o CRM takes the three relevance losses away" in notes
    assert "settings differ from the paper's" not in notes
    assert "of which the paper prints batch size" in notes


def test_baselines_without_the_threshold_are_named(plan_for):
    plan = plan_for(tables=["1"])
    for name, metrics in (("bert-crf", {}), ("bert-span", {"threshold": 0.3})):
        fake_run(plan.rows[name].runs[0].recipe, **metrics)
    _, values = tables_of(plan_for(tables=["1"]))[1]
    (note,) = (note for note in values["notes"] if "earlier version" in note)
    assert note.startswith("BERT-CRF: trained by an earlier version, without the calibrated threshold")


def test_a_checkpoint_that_is_gone_is_one_line(plan_for):
    recipe = plan_for(tables=["2"]).rows[DEFAULT].runs[0].recipe
    fake_run(recipe)
    for compute in (control_run, predict_run):
        with pytest.raises(InputError):
            compute(recipe, VALID)
