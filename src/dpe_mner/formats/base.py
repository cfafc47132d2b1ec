"""What every format is made of: a reader and a writer of posts, and the helpers they share."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dpe_mner.data.columns import Columns
from dpe_mner.data.gold import WordSpan, read_gold
from dpe_mner.data.json_values import read_values
from dpe_mner.data.source import Problem, open_lines
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.formats.offsets import UNITS, Offsets, Unit
from dpe_mner.types import LabelledSpan, Post

RawSpan = tuple[object, object, object, str | None]  # start, end, label, and the text it should cover if that is known


@dataclass(frozen=True)
class FormatOptions:
    """What a file does not say itself.

    Attributes:
        unit: What its offsets count.
        class_names: Names of classes that stand as numbers.
        columns: Of CoNLL.
        posts: The posts that a file of predictions is about.
        predicted: Read what a model said where a file has both that and what people said.
        base: IRI that posts and classes of a graph get theirs under.
        class_iris: IRIs of classes of a graph, by label.
    """

    unit: Unit = "characters"
    class_names: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)
    posts: str | None = None
    predicted: bool = False
    base: str | None = None
    class_iris: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A file being read.

    Attributes:
        path: The file or folder.
        options: What it does not say itself.
        problems: What cannot be used, with its line.
        left_out: What this format holds and a post does not, counted by what it is.
    """

    path: str
    options: FormatOptions
    problems: list[Problem]
    left_out: Counter[str]

    def bad(self, line: int, kind: str, message: str) -> None:
        """Tell of something that cannot be used."""
        self.problems.append(Problem(self.path, line, kind, message))

    def values(self) -> Iterator[tuple[int, Any]]:
        """JSON values and the lines they begin at: lines, an array, or the list inside one object."""
        found = read_values(
            open_lines(self.path, self.problems),
            lambda number, reason: self.bad(number, "bad-json", f"not valid JSON ({reason})"),
        )
        for number, value in found:
            if isinstance(value, dict):
                inner = next((value[k] for k in ("data", "rows", "examples") if isinstance(value.get(k), list)), None)
                if inner is not None and "text" not in value:
                    for item in inner:
                        yield (
                            number,
                            item["row"] if isinstance(item, dict) and isinstance(item.get("row"), dict) else item,
                        )
                    continue
            yield number, value

    def objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Those of the values that are objects; others are problems."""
        for number, value in self.values():
            if isinstance(value, dict):
                yield number, value
            else:
                self.bad(number, "bad-json", "not a JSON object; it is skipped")

    def entities(self, raw: Iterable[RawSpan], text: str, *, line: int) -> tuple[LabelledSpan, ...]:
        """Spans of a text; those that lie outside it, cut a character, or cover something else are problems."""
        offsets = Offsets(text, self.options.unit)
        found: dict[LabelledSpan, None] = {}
        for start, end, label, surface in raw:
            if not isinstance(label, str) or not label:
                self.bad(
                    line, "bad-entity", f"entity {start}-{end}: its label is {label!r}, not a name; it is left out"
                )
                continue
            first, last = _whole(start, offsets), _whole(end, offsets)
            if first is None or last is None or not 0 <= first < last <= len(text):
                self.bad(
                    line, "bad-entity",
                    f"entity {start}-{end} {label}: not a part of the text in {self.options.unit}; it is left out",
                )  # fmt: skip
                continue
            if surface is not None and not _same(text[first:last], surface):
                self.bad(line, "bad-entity", self._mismatch(text, start, end, label, surface, text[first:last]))
                continue
            found[LabelledSpan(start=first, end=last, label=label)] = None
        return tuple(found)

    def _mismatch(self, text: str, start: object, end: object, label: str, surface: str, covered: str) -> str:
        line = f"entity {start}-{end} {label} covers {covered[:40]!r}, the file says {surface[:40]!r}; it is left out"
        for unit in UNITS:
            other = Offsets(text, unit)  # type: ignore[arg-type]
            first, last = _whole(start, other), _whole(end, other)
            if first is not None and last is not None and _same(text[first:last], surface):
                return f"{line}; its offsets count {unit}, give --offsets {unit}"
        return line


def _whole(place: object, offsets: Offsets) -> int | None:
    return offsets.to_characters(place) if type(place) is int and place >= 0 else None


def _same(one: str, other: str) -> bool:
    """Equal but for line breaks, which some tools write as spaces or as a backslash and an n."""
    return one == other or one.split() == other.replace("\\n", " ").split()


Reader = Callable[[Source], Iterator[Post]]
Writer = Callable[[Iterable[Post], Path, FormatOptions, "Counter[str]"], int]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: For ``--from`` and ``--to``.
        about: One line.
        read: Posts of a file.
        write: Posts to a file; counts what it has no place for, and returns how many it wrote.
        offsets: Whether its entities are offsets into a text, in a unit that is not settled.
        ours: Whether it is this package's own, so that ``--offsets`` speaks of the other side.
        scores: Whether it has a place for the scores of what a model found.
        grounding: Whether it has a place for the part of the picture that an entity looked at.
    """

    name: str
    about: str
    read: Reader | None
    write: Writer
    offsets: bool = True
    ours: bool = False
    scores: bool = False
    grounding: bool = False


def identifier_of(value: Mapping[str, Any], line: int, *keys: str) -> str:
    """The id an object gives under one of the keys, else its line."""
    for key in keys or ("id",):
        found = value.get(key)
        if isinstance(found, str | int) and not isinstance(found, bool):
            return str(found)
    return str(line)


def visual_of(value: Mapping[str, Any], *, tags: bool = True) -> dict[str, Any]:
    """Picture, caption and objects an object carries along, where they are what posts hold."""
    found: dict[str, Any] = {k: value[k] for k in ("image", "caption") if isinstance(value.get(k), str)}
    named = value.get("tags")
    if tags and isinstance(named, list | tuple) and all(isinstance(tag, str) for tag in named):
        found["tags"] = tuple(named)
    return found


def visual_values(post: Post, left_out: Counter[str]) -> dict[str, Any]:
    """Picture, caption and objects of a post, to be carried along in a JSON object."""
    found: dict[str, Any] = {}
    if isinstance(post.image, str | os.PathLike):
        found["image"] = os.fspath(post.image)
    elif post.image is not None:
        left_out["pictures in memory"] += 1
    if post.caption is not None:
        found["caption"] = post.caption
    if post.tags is not None:
        found["tags"] = list(post.tags)
    return found


def leave_visual(post: Post, left_out: Counter[str], *, identifier: bool = False) -> None:
    """Count what a format has no place for."""
    for name, value in (("pictures", post.image), ("captions", post.caption), ("lists of objects (tags)", post.tags)):
        left_out[name] += value is not None
    left_out["ids"] += identifier


def as_text(post: Post, left_out: Counter[str]) -> tuple[str, list[LabelledSpan] | None]:
    """A post as text with its entities in characters, None when it is unlabelled."""
    words = words_of(post)
    if post.entities is None:
        return words.text, None
    if post.text is not None:
        return words.text, sorted(post.entities, key=lambda e: (e.start, e.end))
    spans = []
    for entity in post.entities:
        start, end = words.starts[entity.start], words.ends[entity.end - 1]
        if start < end:
            spans.append(replace(entity, start=start, end=end))
        else:
            left_out["entities of empty words"] += 1
    return words.text, sorted(spans, key=lambda e: (e.start, e.end))


def as_words(post: Post, left_out: Counter[str]) -> tuple[list[str], list[WordSpan] | None]:
    """A post as words with its entities in inclusive words, None when it is unlabelled."""
    words = words_of(post)
    left_out["texts cut into words (white space is not kept)"] += post.text is not None
    if post.entities is None:
        return list(words.words), None
    gold = read_gold(post, words)
    left_out["ends of entities inside a word (widened to the word)"] += gold.widened
    left_out["entities without a word"] += gold.wordless
    return list(words.words), sorted(gold.words)


def flat(spans: Sequence[WordSpan], left_out: Counter[str]) -> list[WordSpan]:
    """Spans that do not overlap: of those that do, the first and longest."""
    kept: list[WordSpan] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if kept and span[0] <= kept[-1][1]:
            left_out["entities that overlap another"] += 1
        else:
            kept.append(span)
    return kept


def write_lines(path: Path, rows: Iterable[object]) -> int:
    """JSON Lines; the number of rows.

    Raises:
        InputError: If the file cannot be written.
    """
    return write_file(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_array(path: Path, rows: Iterable[object]) -> int:
    """A JSON array with an item a line; the number of items.

    Raises:
        InputError: If the file cannot be written.
    """

    def parts() -> Iterator[str]:
        before = "[\n"
        for row in rows:
            yield before + json.dumps(row, ensure_ascii=False)
            before = ",\n"
        yield "[]\n" if before == "[\n" else "\n]\n"

    return write_file(path, parts()) - 1


def write_file(path: Path, parts: Iterable[str]) -> int:
    """Write parts one after another; how many there were.

    Raises:
        InputError: If the file cannot be written.
    """
    count = 0
    try:
        # A text may hold half a surrogate pair, which UTF-8 cannot.
        with path.open("w", encoding="utf-8", errors="replace", newline="\n") as stream:
            for part in parts:
                stream.write(part)
                count += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    return count
