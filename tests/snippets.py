"""What the pages of documentation hold: their blocks of code, and the commands in them as a shell would start them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "results" / "README.md",
        ROOT / "benchmarks" / "README.md",
        ROOT / "src" / "dpe_mner" / "assets" / "bundled" / "README.md",
    )
    if path.is_file()  # not all of them are packaged
]
# Files whose head says in comments or a docstring how they are used.
HEADS = [*sorted((ROOT / "recipes").glob("*.yaml")), ROOT / "examples" / "onnx_without_pytorch.py"]
# What begins a command in a sentence; tables say "bench" and the scripts in short.
PROGRAMS = ("dpe-mner", "pip", "python", "make", "mkdocs", "docker", "curl", "accelerate", "bench", "benchmarks/")

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_GONE = re.compile(r"`[^`]+` at commit [0-9a-f]{7}")  # a script that measured a figure and is gone
_FILE = re.compile(r"`([\w.-]+\.\w+)`:?\s*\Z")
_PRINTS = re.compile(r"\n\nprints\n\n\Z")
# Every program of a script is written down instead of started: bash itself does the quoting, loops and variables.
_PRELUDE = """
command_not_found_handle() {
    if [[ $1 == openssl ]]; then echo 0123456789abcdef; fi
    printf '%s\\n' "${*@Q}" >> "$RECORD"
}
function .venv/bin/pre-commit { command_not_found_handle pre-commit "$@"; }
set -eu -o pipefail
PATH=/nonexistent
"""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: From the repository's root.
        line: Of the fence.
        language: As the fence says, or "".
        text: What is in it.
        file: Name of the file whose content it is, said at the end of the sentence before it; or "".
        printed: Whether it is what the block before it prints.
        heading: The heading of level two that it stands under.
    """

    page: str
    line: int
    language: str
    text: str
    file: str
    printed: bool
    heading: str

    @property
    def place(self) -> str:
        """As in an error message."""
        return f"{self.page}:{self.line}"


def name_of(path: Path) -> str:
    """From the repository's root, as pages are named in the tables of the tests."""
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        headings = re.findall(r"^## (.+)$", before, re.MULTILINE)
        file = _FILE.search(before)
        indent = match["indent"]
        found.append(
            Block(
                page=name_of(path),
                line=before.count("\n") + 1,
                language=match["language"].strip(),
                text=re.sub(rf"^{indent}", "", match["text"], flags=re.MULTILINE),
                file=file[1] if file else "",
                printed=bool(_PRINTS.search(before)),
                heading=headings[-1] if headings else "",
            )
        )
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE)), f"{path}: a fence that is not closed"
    return found


def sentences_commands(path: Path) -> list[str]:
    """Commands in the sentences and tables of a page, each as one line of shell."""
    prose = _GONE.sub("", _FENCE.sub("", path.read_text(encoding="utf-8")))
    found = []
    for code in _INLINE.findall(prose):
        line = " ".join(code.replace("\\|", "|").split())
        if any(line.startswith(name if name.endswith("/") else f"{name} ") for name in PROGRAMS):
            short = re.sub(r"^benchmarks/", "python benchmarks/", re.sub(r"^bench ", "dpe-mner bench ", line))
            found.append(short.removesuffix(" ..."))
    return found


def head_commands(path: Path) -> str:
    """The commands in the comments at the head of a recipe, or in the docstring of an example."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return "\n".join(re.findall(r"^(?:dpe-mner|pip|python) .*$", text.split('"""')[1], re.MULTILINE))
    head = re.match(r"(?:#.*\n)*", text)[0]
    return "\n".join(re.findall(r"^#  +(.*)$", head, re.MULTILINE))


def commands_of(script: str, folder: Path) -> list[list[str]]:
    """Every program that bash would start for a script, with its arguments; nothing is started.

    The programs of a pipe are in no particular order.

    Args:
        script: Of a page.
        folder: Where it would run.
    """
    bash = shutil.which("bash")
    assert bash, "needs bash"
    record = folder / ".record"
    record.unlink(missing_ok=True)
    given = {"RECORD": str(record), "HOME": str(folder), "DPE_MNER_TOKEN": "0123456789abcdef"}
    done = subprocess.run(
        [bash, "--noprofile", "--norc", "-c", _PRELUDE + script], cwd=folder, env=given, capture_output=True, text=True
    )
    assert done.returncode == 0, f"bash ends with {done.returncode}: {done.stderr}\n{script}"
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    record.unlink(missing_ok=True)
    assert not any("$'" in line for line in lines), "a character that the record cannot hold"
    return [shlex.split(line) for line in lines]


def option_values(arguments: Sequence[str], name: str) -> list[str]:
    """What follows an option, each time it is given."""
    return [value for option, value in pairwise(arguments) if option == name]
