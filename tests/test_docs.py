"""What the pages of documentation promise: links that lead somewhere, files that exist, figures of the tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "dpe_mner"
PAGES = sorted(
    path for folder in (".", "docs", "results", "benchmarks", "examples") for path in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+\.(?:py|yaml))`")

pytestmark = pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="not a checkout: results are not packaged")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"`|\]\([^)]*\)", "", h)).lower().replace(" ", "-") for h in headings}


def broken(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    wrong = []
    for target in LINK.findall(prose(page)):
        if re.match(r"\w+:", target):
            continue
        place, _, anchor = target.partition("#")
        other = (page.parent / place).resolve() if place else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A `b` heading!\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#a-b-heading) [b](there.md#other) [c](gone.md) [d](https://example.org)\n```\n[e](x)\n```\n"
    )
    assert broken(page) == ["there.md#other", "gone.md"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    if page.name == "log.md":
        pytest.skip("the log tells of files that are gone")
    today = re.sub(r"`[^`]+` at commit [0-9a-f]{7}", "", prose(page))  # a script that measured a figure and is gone
    named = [name for name in FILE.findall(today) if "/" in name]
    assert [name for name in named if not ((ROOT / name).is_file() or (PACKAGE / name).is_file())] == []


def test_every_room_of_the_package_is_on_the_page_of_the_layout():
    page = (ROOT / "docs" / "how-the-code-is-laid-out.md").read_text(encoding="utf-8")
    rooms = {f"{path.name}/" for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py", "version.py"}
    assert rooms | files == set(re.findall(r"^  (\w+/|\w+\.py) ", page, re.MULTILINE))


def test_the_picture_of_the_readme_is_small_and_described():
    ((words, place),) = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(words) > 40
    assert (ROOT / place).stat().st_size < 300_000


def test_the_readme_has_the_figures_of_the_tables():
    rows = {}
    for number in (1, 3):
        table = json.loads((ROOT / "results" / "mended-network" / f"table{number}.json").read_text(encoding="utf-8"))
        rows |= {row["row"]: row for row in table["rows"]}
    names = {
        "DPE-MNER (": "default",
        "BERT-Span": "bert-span",
        "DPE-MNER, static": "static-moe",
        "DPE-MNER, text only": "text-only",
        "BERT-CRF": "bert-crf",
    }
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    own = rows["default"]["f1_by_seed"]
    for start, name in names.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {start}"))
        _, _, seeds, mean, behind, p, _ = line.split("|")
        scores = rows[name]["f1_by_seed"]
        told = {str(seed): float(score) for seed, score in enumerate(seeds.split(","))}
        assert told == {seed: round(scores[seed], 2) for seed in told}
        assert float(re.search(r"\d+\.\d+", mean)[0]) == round(sum(scores[seed] for seed in told) / len(told), 2)
        if name != "default":
            assert float(behind) == round(sum(own[seed] - scores[seed] for seed in told) / len(told), 2)
            assert float(p) == round(rows[name]["p"], 2)
    assert f"seed 4: {own['4']:.2f}" in text
    assert f"five: {rows['default']['f1']:.2f}" in text


def test_every_file_that_holds_an_equation_is_named():
    page = (ROOT / "docs" / "how-the-model-works.md").read_text(encoding="utf-8")
    rooms = ("diffusion", "fusion", "objective", "reasoning")
    files = {f"{room}/{path.name}" for room in rooms for path in (PACKAGE / room).glob("*.py")}
    carriers = {"reasoning/trace.py"} | {f"{room}/__init__.py" for room in rooms}  # hold no equation
    assert {name for name in files - carriers if f"`{name}`" not in page} == set()
