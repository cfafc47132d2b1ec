"""The paper's tables with this code: figures, files, and the command."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path

import pytest
from conftest import VALID
from helpers import assert_refused, run
from reproduction import FakeTrainer, counts_of, quiet

from dpe_mner import InputError
from dpe_mner.reproduce import runner
from dpe_mner.reproduce.notes import notes_of
from dpe_mner.reproduce.render import _signed, as_csv, as_dict, as_markdown, make_grid
from dpe_mner.reproduce.results import Run, TableResult, collect, figures_of, labels_of, score_runs
from dpe_mner.reproduce.runner import run_plan
from dpe_mner.reproduce.tables import DEFAULT, TABLES, rows_of
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.shipped import shipped_recipe

ROWS = rows_of(TABLES.values())


# Figures


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


def test_a_difference_too_small_to_see_has_no_minus():
    assert [_signed(value) for value in (-0.004, 0.004, -0.006, None)] == ["+0.00", "+0.00", "-0.01", ""]


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
        for text in (*values["notes"], values["command"], values["valid_sha256"], *values["trained_on"]):
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
    by_label = {line.cells[0]: line.cells for line in grid.lines if not line.heading}
    assert by_label["HVPNet"][-1] == "needs pictures"  # and no number without a meaning
    assert set(by_label["HVPNet"][1:-1]) <= {"", "-"}
    assert {"GPT-4, paper", "ChatGPT, paper"} <= set(by_label)
    notes = " ".join(values["notes"])
    assert "AdaCoAtt, UMT, FMIT, HVPNet, DebiasCL read features of pictures, which this data lacks" in notes


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


def test_a_dry_run_with_pictures_plans_rows_that_read_them_and_loads_no_model_of_theirs(
    recipe_file, encoders, tmp_path, monkeypatch
):
    def refuse(*args, **kwargs):
        raise AssertionError("a dry run reads no picture")

    monkeypatch.setattr("dpe_mner.pictures.reader.PictureReader.__call__", refuse)
    pictures = tmp_path / "photos"
    pictures.mkdir()
    data = ("--data", tmp_path, "--images", pictures, "--output", tmp_path / "out", "--dry-run")
    tiny = ("--set", f"encoder={encoders('bert-uncased')}", "--set", "training.epochs=1")
    result = run("reproduce", "--encoder", "bert-base-cased", *data, *tiny, "--table", "4")
    assert result.returncode == 0, result.stderr
    shown = result.stderr.decode()
    assert "-pictures" in shown
    assert "6 runs to train" in shown  # with all four representations no row is the default by construction
    assert "same as" not in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--images", "nowhere", "--encoder", "bert-base-cased"), ("--images nowhere", "no such folder")),
        (("--images", "visual.jsonl", "--encoder", "bert-base-cased"), ("--images visual.jsonl", "not a folder")),
        (("--images", "."), ("'minilm'", "--encoder bert-base-cased", "settings.pictures")),
        (("--images", ".", "--encoder", "roberta-base"), ("'roberta-base'", "--encoder bert-base-cased")),
        (("--images", ".", "--recipe", "twitter2017-tiny.yaml"), ("twitter2017-tiny.yaml", "settings.pictures")),
    ],
)
def test_pictures_that_cannot_be_used_are_one_line(recipe_file, tmp_path, arguments, words):
    error = assert_refused(run("reproduce", *arguments, "--dry-run", cwd=tmp_path), *words)
    assert error.count("\n") == 1


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
