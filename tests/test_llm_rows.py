"""The rows of language models in Table 1: figures of a run that is there, only the paper's without one."""

from __future__ import annotations

import csv
import json

import pytest
from conftest import VALID
from helpers import assert_refused, run
from reproduction import GOLD, FakeTrainer

from dpe_mner.data.words import words_of
from dpe_mner.evaluation.score import score
from dpe_mner.llm.folder import metrics_of, write_run
from dpe_mner.llm.request import Usage
from dpe_mner.llm.run import Counts, Result
from dpe_mner.reproduce import runner
from dpe_mner.types import Entity, Prediction

SETTINGS = {"model": "gpt", "endpoint": "http://localhost/v1", "shots": 5, "retrieve": True, "picture": "caption"}


@pytest.fixture
def reproduce(recipe_file, tmp_path, monkeypatch):
    """The command with a trainer that loses four entities, once its plan's folder is known."""
    monkeypatch.setattr(runner, "training_with", lambda glove=None: FakeTrainer(default=4))
    monkeypatch.setattr("dpe_mner.reproduce.estimate.probe_run", lambda *_: None)

    def command(*more):
        given = ("reproduce", "--recipe", recipe_file, "--output", tmp_path / "out", "--table", "1", *more)
        return run(*given, "--quiet")

    return command


def asked_run(folder, sha256, *, lost=1, label=None):
    """What ``dpe-mner baseline llm`` leaves: all gold entities but the first ``lost``."""
    folder.mkdir(parents=True)
    predictions, left = [], lost
    for post, gold in zip(VALID, GOLD, strict=True):
        kept = sorted(gold)[left:]
        left = max(0, left - len(gold))
        text = words_of(post).text
        found = [Entity(text[a:b], label or c, a, b, 0, 1, 1.0) for a, b, c in kept]
        predictions.append(Prediction(post.id, text, found))
    report = score(GOLD, [{(e.start, e.end, e.label) for e in one.entities} for one in predictions])
    counts = Counts(answers=12, unparsable=2, entities_not_in_text=3)
    result = Result(predictions=predictions, counts=counts, used=Usage(), spent=Usage(), snapshots={"gpt-0613": 12})
    prices = {"cost": None, "cost_of_call": None}
    metrics = metrics_of(result, report, settings=SETTINGS, instruction="", sha256=sha256, seconds=1.0, **prices)
    write_run(folder, result, metrics)
    return report


def test_a_finished_run_has_figures_beside_the_papers(reproduce, tmp_path):
    assert reproduce().returncode == 0
    (folder,) = (tmp_path / "out").iterdir()
    before = json.loads((folder / "tables" / "table1.json").read_text())
    row = next(row for row in before["rows"] if row["row"] == "gpt-4")
    assert (row["status"], row["f1"], row["paper"]["f1"]) == ("elsewhere", None, 66.61)
    report = asked_run(folder / "gpt-4" / "seed0", before["valid_sha256"])
    shown = reproduce()
    assert shown.returncode == 0, shown.stderr
    after = json.loads((folder / "tables" / "table1.json").read_text())
    rows = {row["row"]: row for row in after["rows"]}
    row = rows["gpt-4"]
    assert (row["status"], row["paper"]["f1"]) == ("run", 66.61)
    assert row["f1"] == pytest.approx(report.overall.f1, abs=1e-4)
    assert row["precision"] == 100
    assert row["diff"] == pytest.approx(row["f1"] - rows["default"]["f1"], abs=2e-4)
    assert row["diff"] > 0
    assert 0 < row["p"] <= 1
    assert rows["chatgpt"]["status"] == "elsewhere"
    (note,) = [note for note in after["notes"] if note.startswith("GPT-4: gpt (gpt-0613) at http://localhost/v1")]
    for words in ("5 nearest examples", "picture: caption", "of 12 answers 2 unreadable, 3 listed", "not known"):
        assert words in note
    markdown = (folder / "tables" / "table1.md").read_text()
    assert f"| {report.overall.f1:.2f} |" in next(line for line in markdown.splitlines() if line.startswith("| GPT-4"))
    assert "| ChatGPT, paper | - |" in markdown
    assert "| ChatGPT |" not in markdown
    assert b"GPT-4" in shown.stdout
    assert after["trained_on"] == before["trained_on"]  # nothing was trained for it
    lines = {line["row"]: line for line in csv.DictReader((folder / "tables" / "table1.csv").open())}
    assert lines["gpt-4"]["f1"] == str(row["f1"])


def test_a_run_that_does_not_serve_is_one_line_and_the_table_is_there(reproduce, tmp_path):
    assert reproduce().returncode == 0
    (folder,) = (tmp_path / "out").iterdir()
    sha256 = json.loads((folder / "tables" / "table1.json").read_text())["valid_sha256"]
    asked_run(folder / "gpt-4" / "seed0", "0" * 64)
    asked_run(folder / "chatgpt" / "seed0", sha256, label="OTHER")
    error = assert_refused(reproduce(), "everything else is done")
    assert error.count("\n") == 1
    rows = {row["row"]: row for row in json.loads((folder / "tables" / "table1.json").read_text())["rows"]}
    assert "not about the validation file (000000000000 there" in rows["gpt-4"]["remark"]
    assert "label 'OTHER' is not in the data" in rows["chatgpt"]["remark"]
    assert (rows["gpt-4"]["status"], rows["gpt-4"]["f1"]) == ("failed", None)
    (folder / "gpt-4" / "seed0" / "metrics.json").write_text('{"f1": 99.0}')
    assert_refused(reproduce())
    rows = {row["row"]: row for row in json.loads((folder / "tables" / "table1.json").read_text())["rows"]}
    assert "not of dpe-mner baseline llm" in rows["gpt-4"]["remark"]


def test_a_run_that_is_not_finished_changes_nothing(reproduce, tmp_path):
    assert reproduce().returncode == 0
    (folder,) = (tmp_path / "out").iterdir()
    (folder / "gpt-4" / "seed0" / "answers").mkdir(parents=True)
    assert reproduce().returncode == 0
    rows = {row["row"]: row for row in json.loads((folder / "tables" / "table1.json").read_text())["rows"]}
    assert rows["gpt-4"]["status"] == "elsewhere"
