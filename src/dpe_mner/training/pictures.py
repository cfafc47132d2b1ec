"""Pictures for a training run: parts extracted into a store once, then read as batches need them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from dpe_mner.errors import InputError
from dpe_mner.pictures.extract import Extractor, default_workers
from dpe_mner.pictures.kinds import Kind
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.signature import bare_signature
from dpe_mner.pictures.source import post_text
from dpe_mner.pictures.store import PictureStore
from dpe_mner.pictures.weights import ProviderError
from dpe_mner.settings import PictureSettings, Settings
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import Post

Log = Callable[[str], None]


def store_folder(recipe: Recipe) -> str:
    """Where the recipe's store lies: the named one, or one inside the run."""
    return recipe.data.path(recipe.data.features) or str(Path(recipe.output) / "pictures")


def prepare_pictures(recipe: Recipe, posts: Sequence[Post], *, log: Log) -> Settings:
    """Make sure the store holds the parts of all pictures, as far as they can be made.

    Args:
        recipe: Its ``settings.pictures`` say which parts.
        posts: Of all splits.
        log: Receives a line.

    Returns:
        The settings, remembering the weights the parts are made with and the width of the features.

    Raises:
        InputError: If neither pictures nor a store serve.
    """
    reader = PictureReader(recipe.settings.pictures, device=best_device())
    images, features = recipe.data.path(recipe.data.images), recipe.data.features
    if not reader.kinds:
        if features is not None:
            raise InputError(
                "data.features is set, but settings.pictures asks for no part, e.g. settings.pictures.grid"
            )
        return recipe.settings
    if images is None and features is None:
        raise InputError("settings.pictures needs data.images (a folder of pictures) or data.features (a store)")
    folder = store_folder(recipe)
    if images is not None and (Path(images).is_dir() or features is None):
        _extract(reader, Path(images), posts, folder, log=log)
    store = PictureStore(folder)
    try:
        pictures = _remembering(recipe.settings.pictures, reader, store)
        widths = _widths(PictureReader(pictures), store)
    finally:
        store.close()
    fusion = recipe.settings.fusion.model_copy(update=widths)
    return recipe.settings.model_copy(update={"pictures": pictures, "fusion": fusion})


def _extract(reader: PictureReader, images: Path, posts: Sequence[Post], folder: str, *, log: Log) -> None:
    if not images.is_dir():
        raise InputError(f"{images}: no such folder of pictures (data.images)")
    paths: dict[Path, None] = {}
    queries: dict[str, list[Sequence[str]]] = {}
    for post in posts:
        if not isinstance(post.image, str | os.PathLike):
            continue
        path = Path(post.image)
        if path.is_relative_to(images):
            paths.setdefault(path)
            queries.setdefault(str(path.relative_to(images)), []).append(reader.query(post_text(post)))
    if not any(path.is_file() for path in paths):
        raise InputError(f"{images}: holds no picture of these posts; expected <post id>.jpg or the posts' own paths")
    store = PictureStore(folder, write=True)
    try:
        extractor = Extractor(reader, store, images, workers=default_workers(), queries=queries)
        report = extractor(list(paths))
    finally:
        store.close()
    log(
        f"pictures: {report.made} made, {report.present + report.equal} there already, {len(report.failed)} not usable "
        f"({report.seconds:.0f} s)"
    )
    for name, reason in report.failed[:3]:
        log(f"warning: {name}: {reason}")


def _remembering(settings: PictureSettings, reader: PictureReader, store: PictureStore) -> PictureSettings:
    """The settings with fingerprints: of the weights at hand, else of the store's only parts of these settings."""
    values = settings.model_dump()
    for kind in reader.kinds:
        try:
            values[kind]["fingerprint"] = reader.fingerprint(kind)
        except ProviderError as error:
            wanted = bare_signature(settings, kind)
            known = [s for s in store.parts().values() if {key: s.get(key) for key in wanted} == wanted]
            if len(known) != 1:
                raise InputError(
                    f"{store.folder}: holds {len(known)} versions of {kind} with these settings, and {error}"
                ) from None
            values[kind]["fingerprint"] = known[0]["weights"]
    return PictureSettings.model_validate(values)


def _widths(reader: PictureReader, store: PictureStore) -> dict[str, int]:
    """Channels of y_c and y_f, as the store has them."""
    names: dict[Kind, str] = {"grid": "coarse_image_size", "regions": "fine_image_size"}
    parts = store.parts()
    widths = {}
    for kind, name in names.items():
        if kind in reader.kinds:
            part = parts.get(reader.key(kind))
            if part is None:
                raise InputError(f"{store.folder}: holds no {kind} of these settings; extract them, or set data.images")
            widths[name] = int(part["channels"])
    return widths


def stored_stage_channels(settings: PictureSettings, store: PictureStore) -> dict[Kind, tuple[int, ...]]:
    """Channels of each stage of y_c (``grid``) and y_f (``regions``), where they are made of stages.

    Args:
        settings: With fingerprints, as :func:`prepare_pictures` gives them back.
        store: Holds the parts.
    """
    reader, parts = PictureReader(settings), store.parts()
    kinds: tuple[Kind, ...] = ("grid", "regions")
    found = {kind: parts.get(reader.key(kind), {}) for kind in kinds if kind in reader.kinds}
    return {kind: tuple(part["stage_channels"]) for kind, part in found.items() if "stage_channels" in part}


def best_device() -> str:
    """``cuda`` where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
