"""What an installed wheel must do, with nothing of the checkout in reach; run by ``.ci/smoke``, not by pytest.

Usage: python -I smoke.py CHECKOUT, from an empty folder, with the interpreter of the environment that has the wheel.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

TEXT, CAPTION = "Kevin Durant enters Oracle Arena", "a basketball player walks into a gym"
EXPECTED = [("Kevin Durant", "PER", 0, 12), ("Oracle Arena", "LOC", 20, 32)]


def command(*arguments: str) -> str:
    """What the installed ``dpe-mner`` prints; a failure shows what it said and ends this script."""
    program = Path(sys.executable).parent / "dpe-mner"
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, encoding="utf-8", timeout=300)
    if done.returncode:
        sys.exit(f"dpe-mner {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check(right: bool, what: str) -> None:
    """Report, or end with what is wrong."""
    if not right:
        sys.exit(f"smoke: wrong: {what}")
    sys.stdout.write(f"smoke: {what}\n")


def main() -> None:
    """Check one thing after another."""
    checkout = Path(sys.argv[1]).resolve()
    check(not any(Path.cwd().iterdir()), "runs in an empty folder")

    import dpe_mner

    package = Path(dpe_mner.__file__).parent
    check(checkout not in package.parents, "the package is not the checkout's")
    installed = {str(file) for file in metadata.files("dpe-mner") or ()}
    check("dpe_mner/py.typed" in installed, "py.typed is in the wheel")
    check(
        all(file.startswith(("dpe_mner/", "dpe_mner-")) or file.endswith("bin/dpe-mner") for file in installed),
        "the wheel puts nothing beside the package",
    )
    check(command("--version").strip() == f"dpe-mner {metadata.version('dpe-mner')}", "dpe-mner --version")

    row = json.loads(command("predict", "--text", TEXT, "--caption", CAPTION))
    found = [(entity["text"], entity["label"], entity["start"], entity["end"]) for entity in row["entities"]]
    check(found == EXPECTED, f"dpe-mner predict finds {found}")
    entities = dpe_mner.load().predict(TEXT, caption=CAPTION)
    check([(e.text, e.label, e.start, e.end) for e in entities] == EXPECTED, "so does dpe_mner.load().predict")

    from dpe_mner.training.recipe import load_recipe
    from dpe_mner.training.shipped import shipped_recipe

    recipe = shipped_recipe("twitter2017-minilm")
    check(package in recipe.parents, "a recipe is found by its name, inside the package")
    check(load_recipe(recipe).data.visual_text is not None, "and it can be read")

    shown = command("demo", "--output", "demo.html")
    check("[Oracle Arena]LOC" in shown, "dpe-mner demo shows its posts")
    check("dpe-mner[torch]" in shown, "and says what its page needs, for this environment has no PyTorch")


if __name__ == "__main__":
    main()
