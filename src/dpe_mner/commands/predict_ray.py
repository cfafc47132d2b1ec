"""``dpe-mner predict --engine ray``: a bulk run that writes parts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpe_mner.commands.console import Stopped, cannot_write, note
from dpe_mner.commands.identity import absolute, sources_digest, what_it_depends_on
from dpe_mner.commands.places import check_folder
from dpe_mner.data.inputs import with_progress
from dpe_mner.errors import InputError
from dpe_mner.scale.loading import ModelChoice
from dpe_mner.scale.sources import check_columns, parse_columns, sources_of

if TYPE_CHECKING:
    from dpe_mner.pipeline import PredictionOptions

_MOST_ACTORS = 4096
_MOST_ROWS = 1_000_000
_PART_ROWS = 4096
FORMATS = {"jsonl": ".jsonl", "parquet": ".parquet"}

Engine = Annotated[
    str, typer.Option("--engine", help="local, or ray: bulk prediction on Ray Data; --output is a folder then.")
]
Address = Annotated[
    str | None, typer.Option("--ray-address", help="Of a Ray cluster, HOST:PORT or auto; this machine if absent.")
]
Actors = Annotated[int | None, typer.Option("--actors", help="Ray actors, each with a model and a core; 1 if absent.")]
Gpus = Annotated[
    float | None, typer.Option("--gpus-per-actor", help="GPUs of each Ray actor, e.g. 1 or 0.5; none if absent.")
]
ColumnOf = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="KEY=COLUMN", help="With ray: column of a post's key, e.g. text=body; repeatable."
    ),
]
PartFormat = Annotated[str | None, typer.Option("--part-format", help="With ray: jsonl or parquet; jsonl if absent.")]
PartRows = Annotated[
    int | None, typer.Option("--part-rows", help=f"With ray: posts of a part; {_PART_ROWS} if absent.")
]


@dataclass(frozen=True, kw_only=True)
class RayFlags:
    """The flags that only ``--engine ray`` has, as given."""

    address: str | None
    actors: int | None
    gpus: float | None
    columns: list[str] | None
    part_format: str | None
    part_rows: int | None

    def check(self, engine: str, others: Mapping[str, object]) -> bool:
        """Whether Ray is asked for.

        Args:
            engine: ``--engine``.
            others: What does not go with it, by flag, as given.

        Raises:
            InputError: If flags do not go together, or one is out of range.
        """
        own = {
            "--ray-address": self.address, "--actors": self.actors, "--gpus-per-actor": self.gpus,
            "--column": self.columns or None, "--part-format": self.part_format, "--part-rows": self.part_rows,
        }  # fmt: skip
        if engine not in ("local", "ray"):
            raise InputError(f"--engine must be local or ray, got {engine!r}")
        if engine == "local":
            given = [flag for flag, value in own.items() if value is not None]
            if given:
                raise InputError(f"{given[0]} goes with --engine ray")
            return False
        for flag, value in others.items():
            if value:
                raise InputError(f"{flag} does not go with --engine ray; leave it out")
        if self.actors is not None and not 1 <= self.actors <= _MOST_ACTORS:
            raise InputError(f"--actors must be from 1 to {_MOST_ACTORS}, got {self.actors}")
        if self.gpus is not None and not (math.isfinite(self.gpus) and 0 <= self.gpus <= 64):
            raise InputError(f"--gpus-per-actor must be from 0 to 64, got {self.gpus}")
        if self.part_format is not None and self.part_format not in FORMATS:
            raise InputError(f"--part-format must be {' or '.join(FORMATS)}, got {self.part_format!r}")
        if self.part_rows is not None and not 1 <= self.part_rows <= _MOST_ROWS:
            raise InputError(f"--part-rows must be from 1 to {_MOST_ROWS}, got {self.part_rows}")
        return True


def predict_on_ray(
    input_: str | None,
    output: Path | None,
    flags: RayFlags,
    *,
    choice: ModelChoice,
    visual_text: Path | None,
    options: PredictionOptions,
    resume: bool,
    quiet: bool,
) -> None:
    """Do a bulk run, or what is left of one.

    Args:
        input_: File or folder.
        output: Folder of the parts.
        flags: Already checked.
        choice: What an actor loads.
        visual_text: Captions and tags by image id.
        options: How to predict.
        resume: Go on after parts that are there.
        quiet: No progress, no notes.

    Raises:
        InputError: On bad input, each kind told in one line; finished parts are kept.
        Stopped: On Ctrl-C and the like.
    """
    from dpe_mner.scale.answering import BulkWork
    from dpe_mner.scale.bulk_output import BulkOutput
    from dpe_mner.scale.on_ray import RayActors, check_address, require_ray, run_on_ray

    if input_ is None or input_ == "-":
        raise InputError("--engine ray reads the input on many machines; give INPUT, a file or a folder")
    if output is None:
        raise InputError("--engine ray writes parts; add --output FOLDER")
    check_folder("--output", output, others=[input_, choice.images, choice.name])
    folder = Path(os.path.abspath(output))
    if os.path.isdir(input_) and folder.is_relative_to(os.path.abspath(input_)):
        raise InputError(f"--output {output}: lies in the input, which would grow by it; give another folder")
    columns = parse_columns(flags.columns)
    sources = sources_of(input_)
    for source in sources:
        check_columns(source, columns)
    if flags.address is not None:
        check_address(flags.address)
    require_ray()
    ending = FORMATS[flags.part_format or "jsonl"]
    part_rows = flags.part_rows or _PART_ROWS
    choice = _everywhere(choice, on_gpu=bool(flags.gpus))
    work = BulkWork(
        sources=sources, columns=columns, model=choice, options=options, part_rows=part_rows, folder=folder,
        visual_text=None if visual_text is None else Path(os.path.abspath(visual_text)), ending=ending,
    )  # fmt: skip
    depends_on = what_it_depends_on(
        digest=sources_digest(sources), model=choice.name, visual_text=visual_text, options=_told(work)
    )
    actors = RayActors(count=flags.actors or 1, gpus=flags.gpus or 0.0, address=flags.address)
    with cannot_write(output):
        written = BulkOutput(folder, depends_on, sources, ending, resume=resume)
    if written.earlier:
        note(f"{written.earlier} parts are done already ({written.rows + written.failed} posts)", quiet=quiet)
    try:
        for _ in with_progress(run_on_ray(work, written, actors), iter(()), quiet=quiet):
            pass
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped; {_kept(written)}", getattr(stop, "status", 130)) from None
    except InputError as error:
        raise InputError(f"{error}; {_kept(written)}" if written.done else str(error)) from None
    finally:
        with cannot_write(output):
            written.write()
        written.close()
    _tell(written, output, quiet=quiet)


def _everywhere(choice: ModelChoice, *, on_gpu: bool) -> ModelChoice:
    """What an actor loads: one thread, and paths that hold wherever it works."""
    return replace(
        choice,
        name=None if choice.name is None else absolute(choice.name),
        device="cuda" if on_gpu and choice.device is None else choice.device,
        picture_models={kind: absolute(name) for kind, name in sorted(choice.picture_models.items())},
        features=None if choice.features is None else Path(os.path.abspath(choice.features)),
        images=None if choice.images is None else Path(os.path.abspath(choice.images)),
        threads=1,
    )


def _told(work: Any) -> dict[str, object]:
    """Flags that change an answer, or the part it is in."""
    options, model = work.options, work.model
    return {
        "--seed": options.seed, "--steps": options.steps, "--spans": options.spans, "--explain": options.explain,
        "--convention": options.convention, "--int8": model.int8, "--dtype": model.dtype,
        "--images": absolute(model.images), "--features": absolute(model.features),
        "--picture-model": dict(model.picture_models), "--fetch-urls": model.fetch_urls,
        "--column": dict(sorted(work.columns.items())), "--part-format": work.ending, "--part-rows": work.part_rows,
    }  # fmt: skip


def _kept(written: Any) -> str:
    return f"{len(written.done)} finished parts are in {written.folder}; add --resume to go on after them"


def _tell(written: Any, output: Path, *, quiet: bool) -> None:
    if written.left():
        raise InputError(f"{output}: not all parts came to be; {_kept(written)}")
    if not written.rows and not written.failed:
        raise InputError(f"the input holds no post; {output} has an empty part")
    if not written.rows:
        raise InputError(f"none of the {written.failed} posts could be answered; {output}/failed says why")
    note(f"{written.rows} posts answered in {len(written.done)} parts in {output}", quiet=quiet)
    if written.failed:
        note(f"warning: {written.failed} posts could not be answered; {output}/failed says why")
