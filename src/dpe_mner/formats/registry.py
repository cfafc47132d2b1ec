"""All formats by name, and the way from one to another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from dpe_mner.data.source import Problem
from dpe_mner.errors import InputError, nearest
from dpe_mner.formats.base import Format, FormatOptions, Source
from dpe_mner.formats.brat import BRAT
from dpe_mner.formats.displacy import DISPLACY
from dpe_mner.formats.doccano import DOCCANO
from dpe_mner.formats.gliner import GLINER
from dpe_mner.formats.huggingface import HUGGINGFACE
from dpe_mner.formats.label_studio import LABEL_STUDIO, LABEL_STUDIO_MIN
from dpe_mner.formats.offsets import Unit
from dpe_mner.formats.ours import CONLL, JSONL
from dpe_mner.formats.predicted import without_place
from dpe_mner.formats.predictions import PREDICTIONS
from dpe_mner.formats.prodigy import PRODIGY
from dpe_mner.formats.rdf import JSON_LD, N_TRIPLES, TURTLE
from dpe_mner.formats.spacy_docbin import SPACY
from dpe_mner.formats.spacy_json import SPACY_JSON
from dpe_mner.types import Post

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        JSONL,
        CONLL,
        PREDICTIONS,
        DOCCANO,
        LABEL_STUDIO,
        LABEL_STUDIO_MIN,
        SPACY,
        SPACY_JSON,
        GLINER,
        HUGGINGFACE,
        BRAT,
        PRODIGY,
        TURTLE,
        N_TRIPLES,
        JSON_LD,
        DISPLACY,
    )
}
_ALIASES = {
    "posts": "jsonl", "json": "jsonl", "docbin": "spacy", "hf": "huggingface", "hugging-face": "huggingface",
    "labelstudio": "label-studio", "labelstudio-min": "label-studio-min", "iob": "conll", "bio": "conll",
    "ttl": "turtle", "rdf": "turtle", "nt": "n-triples", "ntriples": "n-triples", "jsonld": "json-ld",
    "html": "displacy",
}  # fmt: skip


@dataclass
class Converted:
    """What a conversion did.

    Attributes:
        posts: Written.
        problems: What could not be used, with its line.
        not_read: What the input holds and posts do not, counted.
        not_written: What posts hold and the output does not, counted.
    """

    posts: int = 0
    problems: list[Problem] = field(default_factory=list)
    not_read: Counter[str] = field(default_factory=Counter)
    not_written: Counter[str] = field(default_factory=Counter)


def find_format(option: str, name: str) -> Format:
    """A format by its name.

    Raises:
        InputError: If there is none, naming all.
    """
    folded = name.strip().lower().replace("_", "-")
    folded = _ALIASES.get(folded, folded)
    if folded not in FORMATS:
        raise InputError(f"{option} {name!r}: no such format{nearest(folded, FORMATS)}; known: {', '.join(FORMATS)}")
    return FORMATS[folded]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    read_as: str,
    write_as: str,
    offsets: Unit | None = None,
    output_offsets: Unit | None = None,
    options: FormatOptions | None = None,
) -> Converted:
    """Bring a file from one format to another.

    Args:
        source: The file, or brat's folder.
        target: The file to write, or the folder for brat.
        read_as: Format of the source.
        write_as: Format of the target.
        offsets: What the other tool's offsets count: the source's, or the target's when the source is ours.
        output_offsets: What the target's offsets count, where both sides are other tools'.
        options: Names of classes, columns of CoNLL.

    Returns:
        What was written and what was not.

    Raises:
        InputError: If a format, unit or file does not serve, or the source holds no post.
    """
    reads, writes = find_format("--from", read_as), find_format("--to", write_as)
    if reads.read is None:
        raise InputError(f"--from {reads.name}: is there to be looked at, and nothing reads it; convert to it instead")
    asked, wanted = options or FormatOptions(), output_offsets
    if wanted is None and reads.ours:
        wanted, offsets = offsets, None
    for option, unit, each in (("--offsets", offsets, reads), ("--output-offsets", wanted, writes)):
        if unit not in {None, "characters"} and (not each.offsets or each.ours):
            raise InputError(f"{option} {unit}: {each.name} has no offsets of that kind; leave the option away")
    done = Converted()
    origin = Source(os.fspath(source), replace(asked, unit=offsets or "characters"), done.problems, done.not_read)
    posts = _at_least_one(reads.read(origin), origin)
    posts = without_place(posts, done.not_written, scores=writes.scores, grounding=writes.grounding)
    done.posts = writes.write(posts, Path(target), replace(asked, unit=wanted or "characters"), done.not_written)
    done.problems.sort(key=lambda problem: (problem.path, problem.line))
    return done


def read_labelled(path: str, problems: list[Problem], *, name: str, option: str) -> Iterator[Post]:
    """Labelled posts of another tool's file, for training.

    Args:
        path: The file, or brat's folder.
        problems: Filled while reading.
        name: Of the format.
        option: What the name was given as, for errors.

    Raises:
        InputError: If there is no such format, or nothing reads it.
    """
    found = find_format(option, name)
    if found.read is None:
        raise InputError(f"{option} {found.name}: is there to be looked at, and nothing reads it")
    yield from found.read(Source(path, FormatOptions(), problems, Counter()))


def _at_least_one(posts: Iterator[Post], source: Source) -> Iterator[Post]:
    """Pass posts on, the first one read before anything is written."""
    first = next(posts, None)
    if first is None:
        why = f" ({source.problems[0]})" if source.problems else ""
        raise InputError(f"{source.path}: holds no post{why}; is --from right?")

    def chained() -> Iterator[Post]:
        yield first
        yield from posts

    return chained()
