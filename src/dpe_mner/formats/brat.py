"""brat's standoff: a document as ``name.txt`` with its entities in ``name.ann``, many of them in a folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from dpe_mner.data.source import Problem
from dpe_mner.errors import InputError
from dpe_mner.formats.base import Format, FormatOptions, RawSpan, Source, as_text, leave_visual
from dpe_mner.formats.offsets import Offsets
from dpe_mner.formats.predicted import score_of
from dpe_mner.types import LabelledSpan, Post

_KINDS = {"R": "relations", "E": "events", "A": "attributes", "M": "attributes", "N": "normalizations", "#": "notes"}
_UNSAFE = re.compile(r"[^\w.@+-]", re.ASCII)


def _read(source: Source) -> Iterator[Post]:
    place = Path(source.path)
    if place.is_dir():
        documents = sorted(path for path in place.rglob("*.txt"))
        if not documents:
            raise InputError(f"{place}: holds no .txt file; give brat's folder of .txt and .ann files")
    else:
        documents = [place.with_suffix(".txt")]
    for document in documents:
        text = _text(document)
        if text is None:
            source.problems.append(Problem(str(document), 0, "not-utf8", "not valid UTF-8; the document is skipped"))
            continue
        marks = document.with_suffix(".ann")
        own = Source(str(marks), source.options, source.problems, source.left_out)
        entities = None
        if marks.is_file():
            found = _text(marks)
            if found is None:
                source.problems.append(Problem(str(marks), 0, "not-utf8", "not valid UTF-8; the document is skipped"))
                continue
            spans: list[LabelledSpan] = []
            for number, line in enumerate(found.split("\n"), start=1):
                raw = _span(line.rstrip("\r"), number, own)
                if raw is not None:
                    spans += own.entities([raw], text, line=number)
            entities = tuple(dict.fromkeys(spans))
        name = document.relative_to(place).with_suffix("") if place.is_dir() else Path(document.stem)
        yield Post(id=str(name), text=text, entities=entities)


def _text(path: Path) -> str | None:
    """The text, line ends as they are: brat counts every character. None when it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); brat keeps .txt and .ann side by side") from None
    except UnicodeDecodeError:
        return None


def _span(line: str, number: int, source: Source) -> RawSpan | None:
    if not line.strip():
        return None
    if not line.startswith("T"):
        source.left_out[_KINDS.get(line[0], "other lines")] += 1
        return None
    cells = line.split("\t")
    kind, _, places = cells[1].partition(" ") if len(cells) > 1 else ("", "", "")
    if ";" in places:
        source.left_out["entities in several parts"] += 1
        return None
    try:
        start, end = map(int, places.split())
    except ValueError:
        source.bad(number, "bad-entity", f"{line[:60]!r} is no T1<TAB>LABEL start end<TAB>text; it is left out")
        return None
    return start, end, kind, cells[2] if len(cells) > 2 else None


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    folder = path
    labels: set[str] = set()
    names: set[str] = set()
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder}: holds files already; give a new folder for brat's documents")
        for post in posts:
            text, entities = as_text(post, left_out)
            leave_visual(post, left_out)
            left_out["posts without labels (brat cannot tell them from posts without entities)"] += entities is None
            place = Offsets(text, options.unit).from_characters
            lines = []
            for number, e in enumerate(entities or (), start=1):
                label = re.sub(r"\s", "_", e.label)
                left_out["labels with white space in them (written with _)"] += label != e.label
                covered = " ".join(re.split(r"[\r\n\t]", text[e.start : e.end]))
                lines.append(f"T{number}\t{label} {place(e.start)} {place(e.end)}\t{covered}\n")
                score = score_of(e)
                if score is not None:  # brat shows the notes of an entity; it has no numbers
                    lines.append(f"#{number}\tAnnotatorNotes T{number}\tscore {score}\n")
                labels.add(label)
            name = _name(post.id, names)
            left_out["ids that are no file names (written with _)"] += name != post.id
            (folder / f"{name}.txt").write_bytes(text.encode("utf-8", errors="replace"))
            (folder / f"{name}.ann").write_bytes("".join(lines).encode("utf-8", errors="replace"))
            count += 1
        sections = ("[entities]", *sorted(labels), "", "[relations]", "", "[events]", "", "[attributes]", "")
        (folder / "annotation.conf").write_text("\n".join(sections), encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return count


def _name(identifier: str, taken: set[str]) -> str:
    """A file name for a post that no other post has, whatever the capitals."""
    plain = _UNSAFE.sub("_", identifier).strip(".")[:100] or "post"
    name, k = plain, 1
    while name.lower() in taken:
        k += 1
        name = f"{plain}_{k}"
    taken.add(name.lower())
    return name


BRAT = Format("brat", "brat's .txt and .ann files", _read, _write, scores=True)
