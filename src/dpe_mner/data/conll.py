"""CoNLL: a word and its tag a line, a blank line between posts; ``IMGID:<id>`` before a post, as Twitter2015 has it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from dpe_mner.data.columns import Columns, Layout, cells_of, choose_layout
from dpe_mner.data.source import Problem, open_lines
from dpe_mner.data.tags import is_tag, read_tags
from dpe_mner.types import Post

SAMPLE = 200  # lines a layout is chosen from
_BOM = "\ufeff"
_IMGID = re.compile(r"IMGID\s*:(.*)", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"#\s+(?P<key>[^\s=][^=]*)=(?P<value>.*)|#[^\s=]+\s+=\s+(?P<other>.*)", re.DOTALL)
_BARE_COMMENT = re.compile(r"#\s+(?:newdoc|newpar|id\s+(?P<value>\S+))\b.*", re.DOTALL)
_ID_KEYS = {"id", "sent_id", "imgid", "image_id", "newdoc id"}
Lines = Iterable[tuple[int, str]]


def read_conll(
    path: str | os.PathLike[str],
    problems: list[Problem],
    *,
    columns: Columns | None = None,
    lines: Lines | None = None,
    live: bool = False,
) -> Iterator[Post]:
    """Posts of a CoNLL file, its cells parted by tabs or by spaces.

    ``-DOCSTART-`` lines part posts, comments (``# key = value``) are skipped. A line that does not fit the others is a
    problem, and its post is read without labels. A file of one column holds words alone.

    Args:
        path: The file.
        problems: Filled while reading.
        columns: Which columns hold word and tag; the first and the last when not given.
        lines: The numbered lines, where the file is open already.
        live: They come when they like; the columns are chosen from the first post.

    Yields:
        Posts given as words, with gold entities.

    Raises:
        InputError: If the file cannot be opened, or has not the columns asked for.
    """
    name = os.fspath(path)
    stream = clean_lines(open_lines(path, problems) if lines is None else lines)
    head = list(_first_post(stream) if live else islice(stream, SAMPLE))
    layout = layout_of(head, columns or Columns(), name=name)
    if layout.doubt:
        problems.append(Problem(name, layout.first, "columns", layout.doubt))
    current = _PostLines(name, layout)
    for number, line in chain(head, stream):
        named = _IMGID.match(line)
        if not line.strip() or line.startswith("-DOCSTART-"):
            yield from current.finish(problems)
            current = _PostLines(name, layout)
        elif named:
            yield from current.finish(problems)
            current = _PostLines(name, layout, identifier=named[1].strip(), line=number)
        elif is_comment(line, layout.columns):
            current.comment(line)
        else:
            current.add(number, line, problems)
    yield from current.finish(problems)


def _first_post(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The lines of the first post, all that can be waited for where posts are answered as they come."""
    begun = False
    for number, line in lines:
        yield number, line
        if begun and not line.strip():
            return
        begun = begun or (bool(line.strip()) and not _IMGID.match(line) and not line.startswith("-DOCSTART-"))


def clean_lines(lines: Lines) -> Iterator[tuple[int, str]]:
    """Lines without byte order marks, parted at carriage returns too, as files that were put together have them."""
    extra = 0
    for number, line in lines:
        for k, part in enumerate(line.split("\r")):
            extra += k > 0
            yield number + extra, part.lstrip(_BOM)


def layout_of(head: Lines, columns: Columns, *, name: str) -> Layout:
    """The layout of a file from its first lines.

    Raises:
        InputError: If the lines do not reach as far as the columns asked for.
    """
    sample = [
        (number, cells_of(line))
        for number, line in head
        if line.strip() and not line.startswith("-DOCSTART-") and not _IMGID.match(line)
        if not is_comment(line, columns)
    ]
    return choose_layout(sample, columns, name=name)


def is_comment(line: str, columns: Columns) -> bool:
    """Whether a line is ``# key = value`` and no word: one that ends in a tag is a word, however it looks."""
    if not line.startswith("#") or not (_COMMENT.fullmatch(line) or _BARE_COMMENT.fullmatch(line)):
        return False
    tag = columns.tag_of(cells_of(line))
    return tag is None or not is_tag(tag)


class _PostLines:
    """The lines of the post being read."""

    def __init__(self, path: str, layout: Layout, *, identifier: str = "", line: int = 0) -> None:
        self.path = path
        self.layout = layout
        self.identifier = identifier
        self.line = line
        self.words: list[str] = []
        self.tags: list[str] = []
        self.numbers: list[int] = []
        self.misfits: list[Problem] = []
        self.labelled = layout.tagged

    def comment(self, line: str) -> None:
        """Take the id a comment gives; all else in it is for people."""
        found = _COMMENT.fullmatch(line)
        bare = _BARE_COMMENT.fullmatch(line)
        if not self.identifier and not self.words:
            if found and (found["key"] or "").strip().lower() in _ID_KEYS:
                self.identifier = found["value"].strip()
            elif bare and bare["value"]:
                self.identifier = bare["value"]

    def add(self, number: int, line: str, problems: list[Problem]) -> None:
        cells = cells_of(line)
        tag: str | None = "O"
        wanted, columns = self.layout.count, self.layout.columns
        if len(cells) != wanted:
            self.misfits.append(self._misfit(number, line, cells))
            self.labelled = False
        elif self.layout.tagged:
            tag = columns.tag_of(cells)
        if tag is None or not is_tag(tag):
            message = f"{tag!r} is no IOB, BIOES or BILOU tag; read as O"
            problems.append(Problem(self.path, number, "bad-tag", message))
            tag = "O"
        word = cells[min(columns.word, len(cells)) - 1]
        if not word:
            problems.append(Problem(self.path, number, "empty-word", "no word before the tag; kept as an empty word"))
        self.words.append(word)
        self.tags.append(tag)
        self.numbers.append(number)
        self.line = self.line or number

    def _misfit(self, number: int, line: str, cells: list[str]) -> Problem:
        columns = f"{len(cells)} column{'s' if len(cells) > 1 else ''}, others {self.layout.count}"
        shown = f"{line.strip()[:60]!r} has {columns}"
        if len(cells) == 1:
            message = f"{shown}: a word without a tag; its post is read without labels"
            return Problem(self.path, number, "missing-tag", message)
        message = f"{shown}; the first is taken for the word, and its post is read without labels"
        return Problem(self.path, number, "bad-columns", message)

    def _tell_misfits(self, problems: list[Problem]) -> None:
        if len(self.misfits) > 1 and len(self.misfits) == len(self.words) and self.misfits[0].kind == "missing-tag":
            first = self.misfits[0]
            message = f"post {self.identifier!r} has no tags, other posts have; it is read without labels"
            problems.append(replace(first, message=message))
        else:
            problems += self.misfits

    def finish(self, problems: list[Problem]) -> Iterator[Post]:
        if not self.words:
            if self.line:
                message = f"post {self.identifier!r} has no words; it is skipped"
                problems.append(Problem(self.path, self.line, "empty-post", message))
            return
        self._tell_misfits(problems)
        reading = read_tags(self.tags)
        for position in reading.orphans if self.labelled else ():
            message = f"{self.tags[position]} opens an entity without B-; read as B-"
            problems.append(Problem(self.path, self.numbers[position], "orphan-inside", message))
        yield Post(
            id=self.identifier or str(self.line),
            words=tuple(self.words),
            entities=tuple(reading.spans) if self.labelled else None,
            line=self.line,
        )
