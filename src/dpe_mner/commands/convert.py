"""``dpe-mner convert``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpe_mner.commands.console import note
from dpe_mner.commands.findings import note_problems
from dpe_mner.commands.options import Quiet, TagColumn, WordColumn
from dpe_mner.commands.places import check_place
from dpe_mner.errors import InputError

if TYPE_CHECKING:
    from dpe_mner.formats.base import FormatOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert")(convert)


def convert(
    input_: Annotated[Path, typer.Argument(metavar="INPUT", help="File to read; for brat also a folder.")],
    from_: Annotated[str, typer.Option("--from", metavar="FORMAT", help="Its format; docs/formats.md has all.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="jsonl, conll, predictions, doccano, label-studio, label-studio-min, spacy, spacy-json, gliner, "
            "huggingface, brat, prodigy, turtle, n-triples, json-ld or displacy.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="File to write; for brat a new folder.")],
    offsets: Annotated[
        str | None,
        typer.Option(
            "--offsets",
            metavar="[characters|utf16|bytes]",
            help="What the other tool's offsets count: of INPUT, or of the output when INPUT is jsonl or conll.",
        ),
    ] = None,
    output_offsets: Annotated[
        str | None,
        typer.Option("--output-offsets", metavar="[characters|utf16|bytes]", help="The same, of the output."),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option("--class-names", help="Classes that stand as numbers, in order: O,B-PER,... or a file of them."),
    ] = None,
    posts: Annotated[
        Path | None,
        typer.Option("--posts", help="Posts that INPUT's predictions were made on, JSONL or CoNLL."),
    ] = None,
    predicted: Annotated[
        bool,
        typer.Option("--predicted", help="Of Label Studio's tasks read what a model predicted, not what people said."),
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="IRI", help="What the IRIs of a graph begin with; ends in /.")
    ] = None,
    class_iri: Annotated[
        list[str] | None,
        typer.Option("--class-iri", metavar="LABEL=IRI", help="Class of a label in a graph; may be given often."),
    ] = None,
    tag_column: TagColumn = None,
    word_column: WordColumn = 1,
    quiet: Quiet = False,
) -> None:
    """Bring labelled posts from another tool's format to posts, or posts and predictions to another tool's.

    Example: dpe-mner convert admin.jsonl --from doccano --to jsonl --output posts.jsonl

    Example: dpe-mner convert train.txt --from conll --to spacy --output train.spacy

    Example: dpe-mner convert found.jsonl --from predictions --posts posts.jsonl --to prodigy --output tasks.jsonl

    Example: dpe-mner convert train.jsonl --from jsonl --to turtle --base https://example.org/ --output graph.ttl
    """
    from dpe_mner.data.columns import Columns
    from dpe_mner.formats.base import FormatOptions
    from dpe_mner.formats.huggingface import parse_class_names
    from dpe_mner.formats.offsets import check_unit
    from dpe_mner.formats.registry import convert as run
    from dpe_mner.formats.registry import find_format

    if find_format("--to", to).name != "brat":
        check_place("--output", output, others=[input_, posts])
    options = FormatOptions(
        class_names=parse_class_names(class_names) if class_names is not None else (),
        columns=Columns(word=word_column, tag=tag_column),
        posts=os.fspath(posts) if posts is not None else None,
        predicted=predicted,
        base=base,
        class_iris=_class_iris(class_iri or []),
    )
    _check_use(options, find_format("--from", from_).name, find_format("--to", to).name)
    done = run(
        input_,
        output,
        read_as=from_,
        write_as=to,
        offsets=check_unit("--offsets", offsets) if offsets is not None else None,
        output_offsets=check_unit("--output-offsets", output_offsets) if output_offsets is not None else None,
        options=options,
    )
    note(f"{output}: {done.posts} posts", quiet=quiet)
    for where, counts in ((f"of {input_} not read", done.not_read), (f"not in {output}", done.not_written)):
        line = _counted(counts)
        if line:
            note(f"{where}: {line}", quiet=quiet)
    lost = note_problems(done.problems, quiet=quiet)
    if lost:
        raise InputError(f"{input_}: {len(lost)} lines or entities could not be used; all others are in {output}")


def _class_iris(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        label, equals, iri = pair.partition("=")
        if not equals or not label or not iri:
            raise InputError(f"--class-iri {pair!r}: expected LABEL=IRI, e.g. MISC=https://schema.org/Thing")
        found[label] = iri
    return found


def _check_use(options: FormatOptions, reads: str, writes: str) -> None:
    """An option that has no effect is a slip of the pen."""
    graphs = {"turtle", "n-triples", "json-ld"}
    for option, given, serves, where in (
        ("--posts", options.posts is not None, reads == "predictions", "--from predictions"),
        ("--predicted", options.predicted, reads == "label-studio", "--from label-studio"),
        ("--base", options.base is not None, writes in graphs, "--to turtle, n-triples or json-ld"),
        ("--class-iri", bool(options.class_iris), writes in graphs, "--to turtle, n-triples or json-ld"),
    ):
        if given and not serves:
            raise InputError(f"{option} goes with {where}; leave it out")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if count)
