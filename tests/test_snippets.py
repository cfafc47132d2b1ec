"""Every block of code and every command in the documentation: run, in a folder that holds what the pages talk about.

What takes too long for that is in ``LONG`` with the reason: the command line's own parser reads it here, with the
recipe and the names in it, and a slow test runs it on a few posts. A block or a program of a kind that no table names
fails.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import itertools
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import rdflib
import yaml
from desk import make_desk
from helpers import run
from llm_server import listing, serving
from programs import OTHERS, SYSTEM, ask, check_ours
from snippets import (
    HEADS,
    PAGES,
    ROOT,
    Block,
    blocks_of,
    commands_of,
    head_commands,
    name_of,
    option_values,
    sentences_commands,
)
from starlette.testclient import TestClient

import dpe_mner
from dpe_mner.data.dataset import load_dataset
from dpe_mner.formats.graph import NAMESPACES
from dpe_mner.formats.registry import FORMATS
from dpe_mner.training.recipe import load_recipe
from dpe_mner.web.application import create_app

pytestmark = pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="not a checkout: results are not packaged")
pytest.importorskip("lmdb")

# Commands that a fast test cannot run: why, and what makes them short enough for a slow one. None: not run here.
LONG: dict[str, tuple[str, list[str] | None]] = {
    "train": ("trains", ["--set", "training.epochs=1", "--set", "training.batch_size=4"]),
    "reproduce": ("trains", ["--seeds", "0", "--epochs", "1", "--only", "default"]),
    "calibrate": ("needs a run", []),
    "export": ("writes a graph, which takes a minute", []),
    "demo": ("explains every post of it; test_demo.py looks at its page", []),
    "bench": ("measures for minutes; test_bench.py, test_bench_parts.py and test_vision_bench.py run its parts", None),
    "serve": ("runs until it is stopped; test_serve_running.py starts and stops it", None),
}
LONG_PYTHON = {"docs/baselines.md": "trains"}
# Packages that a block of Python needs and that a development environment may lack.
NEEDED = ("datasets", "rdflib", "spacy")
LACKING = {
    name for name in ("spacy",) if importlib.util.find_spec(name) is None
}  # extras with other packages than ours
# Plain text that is no program's input or output, and what holds it to the truth.
DRAWINGS = {
    "docs/bulk.md": "test_bulk.py looks for these files",
    "docs/how-the-code-is-laid-out.md": "test_docs.py compares it with the folders",
    "docs/pictures.md": "compared with the folder that the recipes read, below",
    "docs/reproducing.md": "compared with what the slow test wrote, below",
}
# Pages whose runs/mine reads pictures.
SEEING = {"docs/pictures.md"}
ADDRESS = "http://localhost:8000/v1"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return make_desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def folder(template, tmp_path, monkeypatch) -> Path:
    """A copy of the desk, with an endpoint of a language model behind the address that the pages give."""
    place = tmp_path / "desk"
    shutil.copytree(template, place)
    monkeypatch.chdir(place)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    return place


@pytest.fixture(scope="module")
def endpoint():
    with serving() as server:
        server.usual = lambda text: listing()
        yield server.url


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(dpe_mner.load())) as client:
        yield client


@dataclass
class Walk:
    """A reader who does what a page says, from top to bottom.

    Attributes:
        folder: Where he does it.
        endpoint: Address of a language model.
        client: Of the service.
        patient: Whether he waits for what takes long.
        names: Of the page's Python.
        later: Outputs of commands he did not wait for.
        lacking: Blocks that need a package that is not installed.
        lost: Whether names are missing that the rest of the page's Python may use.
    """

    folder: Path
    endpoint: str
    client: TestClient
    patient: bool = False
    names: dict = field(default_factory=dict)
    later: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    lost: bool = False

    def read(self, path: Path) -> None:
        blocks = blocks_of(path)
        for block, after in itertools.zip_longest(blocks, blocks[1:]):
            try:
                self.take(block, after if after is not None and after.printed else None)
            except AssertionError as error:
                raise AssertionError(f"{block.place}: {error}") from error
            except Exception as error:
                raise AssertionError(f"{block.place}: {type(error).__name__}: {error}") from error

    def take(self, block: Block, after: Block | None) -> None:
        """Do what a block says; ``after`` is what it prints."""
        if block.printed:
            assert block.language == "", "what is printed has no language"
        elif block.page == "docs/formats.md" and block.heading in FORMATS and block.language != "python":
            pass  # test_formats_peers.py reads the example of every format
        elif block.language == "python":
            self.python(block, after)
        elif block.language == "sh":
            for command in commands_of(block.text, self.folder):
                self.command(command)
        elif block.language == "yaml":
            self.recipe(block)
        elif block.language in {"json", "conll"}:
            file = self.folder / (block.file or f"block.{'jsonl' if block.language == 'json' else 'txt'}")
            file.write_text(block.text, encoding="utf-8")
            data = load_dataset(file)
            assert data.posts
            assert data.problems == []
        elif block.language == "turtle":
            prefixes = "".join(f"@prefix {name}: <{place}> .\n" for name, place in NAMESPACES.items())
            assert len(rdflib.Graph().parse(data=prefixes + block.text, format="turtle"))
        elif block.language == "text":
            assert block.page in DRAWINGS, "a text that nothing holds to the truth"
            self.drawing(block)
        else:
            raise AssertionError(f"nobody knows what to do with a block of {block.language or 'no language'!r}")

    def python(self, block: Block, after: Block | None) -> None:
        code = compile(block.text.replace(ADDRESS, self.endpoint), block.place, "exec")
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(block.text))
            for name in (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
            )
            if name
        }
        missing = [name for name in NEEDED if name in imported and importlib.util.find_spec(name) is None]
        if missing:
            self.lacking.append(f"{block.place} needs {missing[0]}, which is not installed")
            self.lost = True
        if self.lost:
            return
        if not self.patient and (block.page in LONG_PYTHON or any(output in block.text for output in self.later)):
            return
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(code, self.names)
        if after is not None:
            assert shown.getvalue() == after.text

    def drawing(self, block: Block) -> None:
        """Folders as they are drawn."""
        if block.page == "docs/pictures.md":
            data = load_recipe(ROOT / "recipes" / "twitter2017-pictures.yaml").data
            assert all(name in block.text for name in (data.train, data.valid, data.images))
        if block.page == "docs/reproducing.md" and self.patient:
            runs = self.folder / block.text.splitlines()[0]
            named = set(re.findall(r"[\w/]+\.(?:json|jsonl|md|csv|yaml)\b", block.text))
            assert len(named) == 7
            assert {Path(name).name for name in named} <= {path.name for path in runs.rglob("*.*")}

    def recipe(self, block: Block) -> None:
        """A recipe, or a part of the one that is there already."""
        values = yaml.safe_load(block.text)
        file = self.folder / (block.file or "block.yaml")
        if "encoder" not in values:
            whole = self.folder / "my-recipe.yaml"
            values = yaml.safe_load(whole.read_text(encoding="utf-8")) | values
            file = whole
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        load_recipe(file)

    def command(self, words: list[str]) -> None:
        program, *arguments = words
        if program in OTHERS:
            OTHERS[program](arguments)
        elif program == "curl":
            assert ask(arguments, self.client, self.folder)
        elif program == "dpe-mner":
            self.ours([word.replace(ADDRESS, self.endpoint) for word in arguments])
        else:
            assert program in SYSTEM, f"nobody knows what to do with the program {program!r}"

    def ours(self, arguments: list[str]) -> None:
        check_ours(arguments)
        _, shorter = LONG.get(arguments[0], ("", []))
        if option_values(arguments, "--engine") == ["ray"]:  # starts a cluster; test_bulk_ray.py does
            shorter = None
        waits = any(word.startswith(output) for word in arguments for output in self.later)
        if shorter is None or ((arguments[0] in LONG or waits) and not self.patient):
            outputs = option_values(arguments, "--output")
            if arguments[0] == "train":
                outputs.append(load_recipe(arguments[1], option_values(arguments, "--set")).output)
            self.later += [output for output in outputs if not (self.folder / output).exists()]
            return
        given = list(arguments)
        if arguments[0] in LONG:
            own = option_values(arguments, "--only")
            given += shorter[: shorter.index("--only")] if own and "--only" in shorter else shorter
            if arguments[0] == "export" and "--model" not in arguments:
                given += ["--model", "runs/mine"]
            if arguments[0] == "train" and load_recipe(arguments[1]).encoder.startswith("package:"):
                given += ["--set", "encoder=tiny"]
            for output in option_values(arguments, "--output"):
                if arguments[0] == "train" and not (self.folder / output / "recipe.yaml").exists():
                    shutil.rmtree(self.folder / output, ignore_errors=True)  # the desk's, which is no run
        stdin = (self.folder / "posts.jsonl").read_bytes() if "-" in arguments else b""
        done = run(*given, stdin=stdin, cwd=self.folder)
        wanted = re.search(rb"needs? \w+; run pip install 'dpe-mner\[(\w+)\]'", done.stderr)
        if done.returncode == 2 and wanted and wanted[1].decode() in LACKING:
            self.lacking.append(f"{' '.join(arguments[:2])} needs dpe-mner[{wanted[1].decode()}]")
            self.later += option_values(arguments, "--output")
            return
        assert done.returncode == 0, f"dpe-mner {' '.join(given)}\n{done.stderr.decode()}"


@pytest.fixture
def walk(folder, endpoint, client, monkeypatch) -> Walk:
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint)
    return Walk(folder, endpoint, client)


def prepare(walk: Walk, page: Path) -> None:
    if name_of(page) in SEEING:
        shutil.rmtree(walk.folder / "runs" / "mine")
        (walk.folder / "runs" / "seeing").rename(walk.folder / "runs" / "mine")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_a_page_says_what_runs(page, walk):
    prepare(walk, page)
    walk.read(page)
    if walk.lacking:
        pytest.skip("; ".join(walk.lacking))


def takes_long(page: Path) -> bool:
    waiting = "|".join(name for name, (_, shorter) in LONG.items() if shorter is not None)
    return name_of(page) in LONG_PYTHON or any(re.search(rf"dpe-mner ({waiting}) ", b.text) for b in blocks_of(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if takes_long(page)], ids=name_of)
def test_what_a_page_says_runs_to_the_end(page, walk):
    walk.patient = True
    test_a_page_says_what_runs(page, walk)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_have_their_options(page, tmp_path):
    for line in sentences_commands(page):
        for program, *arguments in commands_of(line, tmp_path):
            if program == "dpe-mner":
                check_ours(arguments, whole=False)
            elif program not in SYSTEM:
                OTHERS[program](arguments)


@pytest.mark.parametrize("file", HEADS, ids=name_of)
def test_the_head_of_a_file_says_what_runs(file, walk):
    commands = commands_of(head_commands(file), walk.folder)
    assert commands
    for words in commands:
        walk.command(words)


def test_the_light_example_names_the_packages_of_its_page(tmp_path):
    def packages(script: str) -> list[list[str]]:
        return [words[2:] for words in commands_of(script, tmp_path) if words[:2] == ["pip", "install"]]

    (block,) = (b for b in blocks_of(ROOT / "docs" / "speed.md") if "onnx_without_pytorch" in b.text)
    assert packages(head_commands(HEADS[-1])) == packages(block.text)


def test_examples_of_the_help_have_their_options(folder):
    examples = [
        line
        for path in sorted((ROOT / "src" / "dpe_mner" / "commands").glob("*.py"))
        for line in re.findall(r"^ +Example: (dpe-mner .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(examples) > 20
    for _, *arguments in commands_of("\n".join(examples), folder):
        check_ours(arguments, whole=arguments[0] not in {"train", "reproduce"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```\nx\n```\n", "no language"),
        ("```rust\nfn main() {}\n```\n", "'rust'"),
        ("```text\nx\n```\n", "nothing holds to the truth"),
        ("```sh\nrm -r x\n```\n", "program 'rm'"),
        ("```sh\ndpe-mner predict --txet x\n```\n", "--txet"),
        ("```sh\ndpe-mner predict nothing.jsonl\n```\n", "nothing.jsonl"),
        ("```sh\ndpe-mner train recipes/twitter2017-minilm.yaml --set training.epoch=3\n```\n", "epochs"),
        ("```sh\npip install 'dpe-mner[tourch]'\n```\n", "tourch"),
        ("```sh\nmake tea\n```\n", "tea"),
        ("```sh\npython benchmarks/gone.py\n```\n", "gone.py"),
        ("```sh\ncurl http://127.0.0.1:8000/v2/predict --json '{}'\n```\n", "/v2/predict"),
        ('```sh\ncurl http://127.0.0.1:8000/v1/predict --json \'{"txet": ""}\'\n```\n', "txet"),
        ("```python\nprint(1)\n```\n\nprints\n\n```\n2\n```\n", "assert '1\\n' == '2\\n'"),
        ("```python\nimport dpe_mner\ndpe_mner.lode()\n```\n", "lode"),
        ("```yaml\nencoder: tiny\ndata: {fodler: x}\n```\n", "fodler"),
        ('```json\n{"id": "1", "txet": "x"}\n```\n', "needs either 'text' or 'words'"),
    ],
)
def test_a_wrong_snippet_fails(text, said, walk, monkeypatch):
    page = ROOT / "page.md"  # only its name is used
    monkeypatch.setattr(Path, "read_text", _instead(page, text, Path.read_text))
    with pytest.raises(AssertionError, match=re.escape(said)):
        walk.read(page)


def _instead(page: Path, text: str, read):
    return lambda self, *given, **options: text if self == page else read(self, *given, **options)
