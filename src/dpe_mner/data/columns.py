"""Which column of a CoNLL file holds the word and which the tag, chosen once a file from its first lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dpe_mner.data.tags import is_tag
from dpe_mner.errors import InputError

_FEW = 0.1  # of the lines end like a tag by chance, in running text


@dataclass(frozen=True)
class Columns:
    """Where to look, as users count: from 1, or from the end with -1.

    Attributes:
        word: Column of the words.
        tag: Column of the tags; the last when None.

    Raises:
        InputError: If a number names no column, or both the same.
    """

    word: int = 1
    tag: int | None = None

    def __post_init__(self) -> None:
        if self.word < 1:
            raise InputError(f"--word-column must be from 1, got {self.word}")
        if self.tag == 0:
            raise InputError("--tag-column counts from 1, or from the end with -1; got 0")
        if self.tag == self.word:
            raise InputError(f"--tag-column and --word-column are both {self.tag}; a column holds words or tags")

    def tag_of(self, cells: Sequence[str]) -> str | None:
        """The cell where the tag should be; None when the line does not reach as far."""
        number = -1 if self.tag is None else self.tag
        place = number - 1 if number > 0 else len(cells) + number
        if not 0 <= place < len(cells) or place == self.word - 1:
            return None
        return cells[place].strip()


@dataclass(frozen=True)
class Layout:
    """The columns of one file.

    Attributes:
        count: Cells of a line.
        columns: Where word and tag are.
        tagged: Whether the lines have tags.
        doubt: What is odd about the whole file; empty when nothing is.
        first: The line that shows it.
    """

    count: int
    columns: Columns
    tagged: bool
    doubt: str = ""
    first: int = 0


def cells_of(line: str) -> list[str]:
    """Cells of a line: split at tabs if it has one, else at spaces. Other white space may be a word or part of one."""
    line = line.rstrip(" \t")
    return line.split("\t") if "\t" in line else [cell for cell in line.split(" ") if cell]


def choose_layout(sample: Sequence[tuple[int, list[str]]], columns: Columns, *, name: str) -> Layout:
    """The layout most lines agree on; lines that do not fit it are told by whoever reads them.

    Args:
        sample: Number and cells of the first lines that hold words.
        columns: What the user said.
        name: Of the file.

    Raises:
        InputError: If the lines do not reach as far as the user's columns.
    """
    if not sample:
        return Layout(1, columns, tagged=False)
    tags = [(columns.tag_of(cells), len(cells)) for _, cells in sample]
    tagged = [count for tag, count in tags if tag is not None and is_tag(tag)]
    usual = _most(len(cells) for _, cells in sample)
    number, first = sample[0]
    if columns.tag is not None or columns.word > 1:
        wanted = max(columns.word, abs(columns.tag or 1))
        if wanted > max(len(cells) for _, cells in sample):
            raise InputError(f"{name}:{number}: has {len(first)} columns, but column {wanted} was asked for")
    if tagged and (usual == 1 or len(tagged) > _FEW * len(sample)):
        count = _most(tagged)
        unlike = sum(not is_tag(tag or "") for tag, n in tags if n == count)
        if unlike <= len(tagged):
            return Layout(count, columns, tagged=True, doubt=_numbered(sample, columns), first=number)
    doubt = "" if usual == 1 else _no_tags(sample, usual, columns)
    return Layout(usual, columns, tagged=False, doubt=doubt, first=number)


def _no_tags(sample: Sequence[tuple[int, list[str]]], count: int, columns: Columns) -> str:
    rows = [cells for _, cells in sample if len(cells) == count]
    where = "the last column" if columns.tag is None else f"column {columns.tag}"
    example = columns.tag_of(rows[0])
    line = f"{count} columns, but {where} holds no tags (e.g. {(example or '')[:40]!r}); read without labels"
    for place in range(count):
        values = [row[place].strip() for row in rows]
        if all(map(is_tag, values)) and place != columns.word - 1:
            return f"{line}: column {place + 1} holds tags, give --tag-column {place + 1}"
    return f"{line}; a tag is O or like B-PER"


def _numbered(sample: Sequence[tuple[int, list[str]]], columns: Columns) -> str:
    """Whether what is taken for words counts them: 1, 2, 3, as in CoNLL-U."""
    words = [cells[columns.word - 1] for _, cells in sample if len(cells) > max(columns.word, 2)]
    if len(words) < len(sample) or not all(word.isdecimal() for word in words) or words[0] not in {"0", "1"}:
        return ""
    following = columns.word + 1
    return f"column {columns.word} counts the words; give --word-column {following} if column {following} holds them"


def _most(counts: object) -> int:
    """The most frequent number, of equally frequent ones the greatest."""
    found = Counter(counts)  # type: ignore[call-overload]
    return max(found, key=lambda count: (found[count], count))
