"""Imports point from a later room to an earlier one, and no two files wait for each other.

Rooms are the folders of the package and the files at its root. Counted are imports that run when a file is loaded;
those inside functions (lazy ones, for a quick ``--help``) and under ``TYPE_CHECKING`` are counted for the command line
alone, which nothing may know however late.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import dpe_mner

ROOT = Path(dpe_mner.__file__).parent
ROOMS = (  # a room may import from those before it
    "version errors types settings ranks data formats decoding pictures representations pipeline checkpoints diffusion "
    "fusion reasoning objective explain predictor model evaluation pages training baselines llm onnx bench reproduce "
    "suggest api scale integrations web commands"
).split()


def module_of(path: Path) -> str:
    """``reasoning.heads``; a package has the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in ROOT.rglob("*.py")}


def imports_of(name: str, *, late: bool) -> set[str]:
    """Modules of ours that a file imports; ``late``: also inside functions and for type checkers."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            postponed = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            if postponed and not late:
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}: a relative import"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    found.add(whole if whole.removeprefix("dpe_mner.") in FILES else str(child.module))
            visit(child)

    visit(ast.parse(FILES[name].read_text(encoding="utf-8")))
    ours = {module for module in found if module.partition(".")[0] == "dpe_mner"}
    return {module.removeprefix("dpe_mner").removeprefix(".") for module in ours}


def room(name: str) -> str:
    return name.partition(".")[0]


def test_every_import_is_of_a_file_there_is():
    assert len(FILES) > 100
    assert {target for name in FILES for target in imports_of(name, late=True)} <= set(FILES)


def test_no_circle_between_files():
    graph = {name: imports_of(name, late=False) - {name} for name in FILES}
    list(TopologicalSorter(graph).static_order())  # a CycleError names the files


def test_every_room_has_its_place():
    assert {room(name) for name in FILES} - {"", "__main__"} == set(ROOMS)


def test_imports_point_to_earlier_rooms():
    place = {name: k for k, name in enumerate(ROOMS)} | {"": len(ROOMS), "__main__": len(ROOMS)}
    wrong = {
        (name, target)
        for name in FILES
        if room(name) not in ("", "__main__")
        for target in imports_of(name, late=False)
        if room(target) != room(name) and place[room(target)] > place[room(name)]
    }
    assert wrong == set()


def test_nothing_knows_the_command_line():
    knowing = {name for name in FILES if "commands" in map(room, imports_of(name, late=True))}
    assert {room(name) for name in knowing} <= {"commands", "__main__"}
    assert "__main__" in knowing
