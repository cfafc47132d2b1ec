"""The notebook runs from top to bottom, and draws."""

from __future__ import annotations

from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[1] / "examples" / "first_look.ipynb"
nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
nbformat = pytest.importorskip("nbformat", reason="needs nbformat")
pytest.importorskip("ipykernel", reason="needs ipykernel")


@pytest.mark.slow
@pytest.mark.skipif(not FILE.is_file(), reason="examples are not part of an installed package")
def test_the_notebook_runs_and_draws(tmp_path):
    notebook = nbformat.read(FILE, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept without them: they would be of another day
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=tmp_path)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not any(output.output_type == "error" for output in shown)
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    printed = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    assert "PER" in printed
    assert "Kevin Durant" in printed
    assert printed.count("expected errors") == 3
