"""The documentation as a site: it builds, every link leads somewhere, and a reader's browser asks nobody else."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs"),
    pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="not a checkout: results are not packaged"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_of_documentation_is_in_the_site(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.parent.name for path in site.rglob("index.html")}
    start = (site / "index.html").read_text()
    for name in sorted(pages | {"results", "contributing", "changelog", "measurements"}):
        assert f'href="{name}/"' in start, name


def test_a_browser_asks_nobody_else(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        asked = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="(https?:[^"]+)"', text)
        asked += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="(https?:[^"]+)"', text)
        assert asked == [], page


def test_the_reference_has_what_docstrings_say(site):
    text = (site / "reference" / "index.html").read_text()
    assert 'id="dpe_mner.api.load"' in text
    assert "Load a model ready to predict" in text
    assert 'id="dpe_mner.training.recipe.DataSettings"' in text


def test_links_of_the_repository_become_links_of_the_site():
    specification = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "site" / "pages.py")
    pages = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(pages)
    text = "[a](docs/speed.md#x) [b](results/README.md) [c](src/dpe_mner/api.py) [d](https://example.org) [e](#f)"
    assert pages.for_site(text, ROOT) == "[a](speed.md#x) [b](results.md) c [d](https://example.org) [e](#f)"
    assert pages.for_site("[a](../README.md)", ROOT / "docs") == "[a](index.md)"
