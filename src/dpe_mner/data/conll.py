"""The Twitter2015/2017 format: ``IMGID:<id>``, then ``word<TAB>tag`` lines, a blank line between posts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dpe_mner.data.source import Problem, open_lines
from dpe_mner.data.tags import is_tag, read_tags
from dpe_mner.types import Post


def read_conll(path: str | os.PathLike[str], problems: list[Problem]) -> Iterator[Post]:
    """Posts of a CoNLL file.

    Lines split at the tab only: a word may be a no-break space. A post with a line without a tag is unlabelled.

    Args:
        path: The file.
        problems: Filled while reading.

    Yields:
        Posts given as words, with gold entities.
    """
    current = _PostLines(os.fspath(path))
    for number, line in open_lines(path, problems):
        if not line:
            yield from current.finish(problems)
            current = _PostLines(current.path)
        elif line.startswith("IMGID:"):
            yield from current.finish(problems)
            current = _PostLines(current.path, identifier=line.removeprefix("IMGID:").strip(), line=number)
        else:
            current.add(number, line, problems)
    yield from current.finish(problems)


class _PostLines:
    """The lines of the post being read."""

    def __init__(self, path: str, *, identifier: str = "", line: int = 0) -> None:
        self.path = path
        self.identifier = identifier
        self.line = line
        self.words: list[str] = []
        self.tags: list[str] = []
        self.numbers: list[int] = []
        self.labelled = True

    def add(self, number: int, line: str, problems: list[Problem]) -> None:
        word, tab, tag = line.partition("\t")
        tag = tag.strip() if tab else "O"
        self.labelled = self.labelled and bool(tab)
        if not is_tag(tag):
            problems.append(Problem(self.path, number, "bad-tag", f"{tag!r} is no IOB, BIOES or BILOU tag; read as O"))
            tag = "O"
        self.words.append(word)
        self.tags.append(tag)
        self.numbers.append(number)
        self.line = self.line or number

    def finish(self, problems: list[Problem]) -> Iterator[Post]:
        if not self.words:
            if self.line:
                message = f"post {self.identifier!r} has no words; it is skipped"
                problems.append(Problem(self.path, self.line, "empty-post", message))
            return
        reading = read_tags(self.tags)
        for position in reading.orphans:
            message = f"{self.tags[position]} opens an entity without B-; read as B-"
            problems.append(Problem(self.path, self.numbers[position], "orphan-inside", message))
        yield Post(
            id=self.identifier or str(self.line),
            words=tuple(self.words),
            entities=tuple(reading.spans) if self.labelled else None,
            line=self.line,
        )
