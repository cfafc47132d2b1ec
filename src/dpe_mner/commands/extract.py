"""``dpe-mner extract`` and ``dpe-mner import-visual``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpe_mner.commands.console import Stopped, is_full, note, wants_progress
from dpe_mner.commands.options import Device, Quiet
from dpe_mner.commands.places import check_folder, check_place
from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from dpe_mner.pictures.extract import Extractor, ExtractReport
    from dpe_mner.pictures.reader import PictureReader
    from dpe_mner.settings import PictureSettings

_SHOWN_FAILURES = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("extract")(extract)
    app.command("import-visual")(import_visual)


def extract(
    images: Annotated[Path, typer.Option("--images", help="Folder of pictures, read with its sub-folders.")],
    output: Annotated[Path, typer.Option("--output", help="Store to write; what it holds already is not made again.")],
    recipe: Annotated[Path | None, typer.Option("--recipe", help="Take settings.pictures of this recipe.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Take the picture settings of this checkpoint.")] = None,
    grid: Annotated[str | None, typer.Option("--grid", help="Image backbone for y_c: hub id or folder.")] = None,
    caption: Annotated[str | None, typer.Option("--caption", help="Captioner for y_ct: hub id or folder.")] = None,
    tags: Annotated[str | None, typer.Option("--tags", help="Object detector for y_ft: hub id, folder, .onnx.")] = None,
    regions: Annotated[
        str | None, typer.Option("--regions", help="Object detector whose best boxes are the regions of y_f.")
    ] = None,
    grounding: Annotated[
        str | None, typer.Option("--grounding", help="Open-vocabulary model that finds the posts' noun phrases.")
    ] = None,
    general_words: Annotated[
        str | None,
        typer.Option("--general-words", help="What --grounding looks for in every picture too, split at commas."),
    ] = None,
    posts: Annotated[
        Path | None, typer.Option("--posts", help="Posts whose phrases --grounding looks for (JSONL or CoNLL).")
    ] = None,
    crops: Annotated[Path | None, typer.Option("--crops", help="Folder of ready-made crops for y_f.")] = None,
    crop_index: Annotated[
        Path | None, typer.Option("--crop-index", help="Which crops belong to a picture: JSON, or HVPNeT's .pth.")
    ] = None,
    objects: Annotated[
        str | None, typer.Option("--objects", help="Object detector that counts objects: hub id, folder, .onnx.")
    ] = None,
    ocr: Annotated[bool, typer.Option("--ocr", help="Read text in the pictures too.")] = False,
    pool: Annotated[int | None, typer.Option("--pool", help="Average regions to this many blocks a side.")] = None,
    stages: Annotated[
        bool, typer.Option("--stages", help="y_c and y_f from all stages of the backbone, each of 2 x 2 blocks.")
    ] = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="y_c in the space of the words of --grid's text tower (CLIP, SigLIP).")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Pictures written together.")] = 32,
    workers: Annotated[int | None, typer.Option("--workers", help="Threads that decode.")] = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Make the visual representations of a folder of pictures, once; resumable, and safe to kill.

    Example: dpe-mner extract --images photos --output photos.store --grid microsoft/resnet-50 --tags yolox_nano.onnx

    Example: dpe-mner extract --images twitter2017_images --output t17.store --recipe my-recipe.yaml
    """
    if batch_size < 1 or (workers is not None and workers < 1):
        raise InputError("--batch-size and --workers must be at least 1")
    check_folder("--output", output, others=[images, recipe, model, posts, crops, crop_index])
    own = {
        "grid": grid, "caption": caption, "tags": tags, "regions": regions, "grounding": grounding,
        "crops": crops, "ocr": ocr or None, "pool": pool, "stages": stages or None,
        "objects": objects, "general_words": general_words, "aligned": aligned or None,
    }  # fmt: skip
    settings = _settings(recipe, model, {name: value for name, value in own.items() if value is not None})
    if settings.regions is not None and settings.regions.grounding is not None and posts is None:
        raise InputError("grounded regions depend on the posts; name them with --posts FILE")
    if settings.regions is not None and settings.regions.crops and (crops is None or crop_index is None):
        raise InputError("ready-made regions need --crops FOLDER and --crop-index FILE")
    from dpe_mner.data.joining import picture_id
    from dpe_mner.pictures.extract import Extractor, default_workers, picture_files
    from dpe_mner.pictures.reader import PictureReader
    from dpe_mner.pictures.store import PictureStore

    files = picture_files(images)
    reader = PictureReader(settings, device=device or "cpu")
    queries = _queries(reader, posts, images) if posts is not None else {}
    cut = _crops(crops, crop_index) if crops is not None and crop_index is not None else {}
    for named, what in ((queries, f"{posts}: pictures of posts"), (cut, f"{crop_index}: pictures with crops")):
        if named:
            there = {picture_id(path.name) for path in files}
            met = sum(picture_id(name) in there for name in named)
            note(f"{what}: {met} of {len(named)} are among the {len(files)} pictures", quiet=quiet and met > 0)
    store = PictureStore(output, write=True)
    try:
        extractor = Extractor(
            reader, store, images, batch_size=batch_size, workers=workers or default_workers(),
            queries=queries, crops=cut,
        )  # fmt: skip
        with _progress(len(files), quiet) as progress:
            report = _extracted(extractor, files, progress, output)
        sizes, parts = store.sizes(), store.parts()
    finally:
        store.close()
    _summary(report, sizes, parts, output, quiet)


def _extracted(
    extractor: Extractor, files: Sequence[Path], progress: Callable[[ExtractReport], None], output: Path
) -> ExtractReport:
    kept = f"what was made is in {output}; the same command goes on from there"
    try:
        return extractor(files, progress)
    except KeyboardInterrupt as stopped:
        raise Stopped(f"stopped; {kept}", getattr(stopped, "status", 130)) from None
    except Exception as error:
        if not is_full(error):
            raise
        raise InputError(f"{output}: no space left to write to; {kept}") from None


def _settings(recipe: Path | None, model: str | None, own: dict[str, Any]) -> PictureSettings:
    if (recipe is not None) + (model is not None) + bool(own.keys() - {"crops"}) != 1:
        raise InputError("say what to make: --recipe, or --model, or parts (--grid, --caption, --tags, --regions, ...)")
    if recipe is not None:
        from dpe_mner.training.recipe import load_recipe

        return load_recipe(recipe).settings.pictures
    if model is not None:
        from dpe_mner.checkpoints.config import DPEMNERConfig

        try:
            config = DPEMNERConfig.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise InputError(f"{model}: no checkpoint ({str(error).splitlines()[0]})") from None
        return config.settings.pictures
    return _settings_of_parts(own)


def _settings_of_parts(own: dict[str, Any]) -> PictureSettings:
    from dpe_mner.settings import PictureSettings, parse_section

    values: dict[str, Any] = {
        kind: {"model": own[kind]} for kind in ("grid", "caption", "tags", "objects") if kind in own
    }
    places = {
        "detector": {"model": own["regions"]} if "regions" in own else None,
        "grounding": {"model": own["grounding"]} if "grounding" in own else None,
        "crops": "crops" in own,
    }
    if any(places.values()):
        general = [word.strip() for word in own.get("general_words", "").split(",")] if "general_words" in own else []
        values["regions"] = places | {"pool": own.get("pool"), "general_words": general}
    if "aligned" in own and "grid" not in own:
        raise InputError("--aligned says how --grid is made; name its model")
    if "aligned" in own:
        values["grid"]["aligned"] = True
    if "general_words" in own and "grounding" not in own:
        raise InputError("--general-words are looked for by --grounding; name its model")
    for part in ("grid", "regions"):
        if "stages" in own and part in values:
            values[part]["stages"] = True
    if "stages" in own and not values.keys() & {"grid", "regions"}:
        raise InputError("--stages says how --grid and --regions are made; name one of them")
    if own.get("ocr"):
        values["ocr"] = {}
    return parse_section(PictureSettings, values, where="extract")


def _queries(reader: PictureReader, posts: Path, images: Path) -> dict[str, list[Sequence[str]]]:
    from dpe_mner.data.dataset import load_dataset
    from dpe_mner.pictures.source import post_text

    found: dict[str, list[Sequence[str]]] = {}
    for post in load_dataset(posts, images=images).posts:
        if isinstance(post.image, str | os.PathLike):
            path = Path(post.image)
            name = str(path.relative_to(images)) if path.is_relative_to(images) else path.name
            found.setdefault(name, []).append(reader.query(post_text(post)))
    return found


def _crops(folder: Path, index: Path) -> dict[str, list[Path]]:
    from dpe_mner.data.inside import stays_inside
    from dpe_mner.pictures.imports import read_crop_index

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of crops")
    found = read_crop_index(index)
    for name, crops in found.items():
        for crop in crops:
            if not stays_inside(crop):
                raise InputError(f"{index}: {crop!r} of {name!r} leads out of {folder}; name crops relative to --crops")
    return {name: [folder / crop for crop in crops] for name, crops in found.items()}


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[ExtractReport], None]]:
    if not wants_progress(quiet):
        yield lambda report: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("extracting"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, rate="")

        def show(report: ExtractReport) -> None:
            rate = report.made / report.seconds if report.seconds else 0.0
            bar.update(task, completed=report.total, rate=f"{rate:.1f} pictures/s")

        yield show


def _summary(
    report: ExtractReport,
    sizes: dict[str, tuple[int, int]],
    parts: dict[str, dict[str, Any]],
    output: Path,
    quiet: bool,
) -> None:
    rate = f", {report.made / report.seconds:.1f} pictures/s" if report.made and report.seconds else ""
    note(
        f"{output}: {report.made} pictures made, {report.present} there already, {report.equal} equal to others, "
        f"{len(report.failed)} failed; {report.seconds:.1f} s{rate}",
        quiet=quiet,
    )
    by_kind: dict[str, tuple[int, int]] = {}
    for part, (count, size) in sizes.items():
        kind = parts.get(part.split("-")[0], {}).get("kind", "unknown")
        known = by_kind.get(kind, (0, 0))
        by_kind[kind] = (known[0] + count, known[1] + size)
    for kind, (count, size) in by_kind.items():
        note(f"  {kind}: {count} entries, {size / max(count, 1) / 1024:.1f} KB each", quiet=quiet)
    for name, reason in report.failed[:_SHOWN_FAILURES]:
        note(f"  failed: {name}: {reason}")
    if len(report.failed) > _SHOWN_FAILURES:
        note(f"  ... and {len(report.failed) - _SHOWN_FAILURES} more")
    if report.failed:
        raise InputError(f"{len(report.failed)} pictures could not be used; all others are done")


def import_visual(
    output: Annotated[Path, typer.Option("--output", help="Visual-text JSONL, or JSON of crops, to write.")],
    captions: Annotated[Path | None, typer.Option("--captions", help="VinVL/Oscar caption TSV.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="VinVL/Oscar label TSV: objects seen.")] = None,
    crops: Annotated[Path | None, typer.Option("--crops", help="HVPNeT's dictionary of crops (.pth).")] = None,
    quiet: Quiet = False,
) -> None:
    """Bring captions, object labels and crop dictionaries that others made to the files read here.

    Example: dpe-mner import-visual --captions coco_caption.tsv --labels labels.tsv --output visual_text.jsonl

    Example: dpe-mner import-visual --crops twitter2017_train_dict.pth --output crops.json
    """
    from dpe_mner.pictures.imports import captions_of, convert_crop_index, tags_of, write_visual_text

    if (crops is None) == (captions is None and labels is None):
        raise InputError("give --captions and/or --labels, or --crops")
    check_place("--output", output, others=[captions, labels, crops])
    if crops is not None:
        count = convert_crop_index(crops, output)
    else:
        found = captions_of(captions) if captions is not None else {}
        count = write_visual_text(output, found, tags_of(labels) if labels is not None else {})
    note(f"{output}: {count} pictures", quiet=quiet)
