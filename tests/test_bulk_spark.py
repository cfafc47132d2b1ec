"""The Spark recipe of the documentation, on Spark's local mode."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "examples" / "bulk_spark.py"
TEXTS = ["Kevin Durant enters Oracle Arena", "nothing at all", "Barack Obama in Paris", ""]


def test_the_recipe_answers_row_by_row():
    pandas = pytest.importorskip("pandas")
    spec = importlib.util.spec_from_file_location("bulk_spark", RECIPE)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    frames = [pandas.DataFrame({"id": [1, 2], "text": TEXTS[:2]}), pandas.DataFrame({"id": [3, 4], "text": TEXTS[2:]})]
    first, second = recipe.answers(iter(frames))
    assert [*first["id"], *second["id"]] == ["1", "2", "3", "4"]
    assert {e["text"] for e in second["entities"][0]} == {"Barack Obama", "Paris"}


def test_without_pyspark_one_line_says_what_to_install():
    code = f"import sys; sys.modules['pyspark'] = None; sys.argv = ['x', 'a', 'b']; exec(open({str(RECIPE)!r}).read())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.returncode == 2
    assert "pip install pyspark" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_the_recipe_runs_on_local_spark(tmp_path):
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    import dpe_mner

    source, target = tmp_path / "posts.parquet", tmp_path / "answers.parquet"
    parquet.write_table(arrow.table({"id": ["1", "2", "3", "4"], "text": TEXTS}), source)
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    ran = subprocess.run(
        [sys.executable, str(RECIPE), str(source), str(target)], env=environment, capture_output=True, timeout=400
    )
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    found = {row["id"]: row for row in parquet.read_table(target).to_pylist()}
    assert sorted(found) == ["1", "2", "3", "4"]
    for row, told in zip(("1", "2", "3"), dpe_mner.load().predict(TEXTS[:3]), strict=True):
        assert [(e["start"], e["end"], e["label"]) for e in found[row]["entities"]] == [
            (e.start, e.end, e.label) for e in told
        ]
