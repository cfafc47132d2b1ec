"""The recipes that come with the package, from an installed wheel or a source checkout."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from dpe_mner.errors import InputError, nearest


def shipped_recipe(name: str) -> Path:
    """The file of a recipe of ours, e.g. ``twitter2017-minilm``.

    Raises:
        InputError: If there is none of this name, or this installation has no recipes.
    """
    package = Path(str(resources.files("dpe_mner")))
    for folder in (package / "assets" / "recipes", package.parents[1] / "recipes"):
        known = sorted(path.stem for path in folder.glob("*.yaml"))
        if name in known:
            return folder / f"{name}.yaml"
        if known:
            raise InputError(f"no recipe {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    raise InputError("this installation has no recipes; name one with --recipe FILE")
