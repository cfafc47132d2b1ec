"""What a file or an object looks like, where it is not what its name says: another tool's, a table, plain text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpe_mner.data.columns import Columns, cells_of
from dpe_mner.data.conll import clean_lines, layout_of
from dpe_mner.data.tags import is_tag
from dpe_mner.errors import InputError

JSON_ENDINGS = frozenset({".jsonl", ".json", ".ndjson"})
LABEL_KEYS = frozenset(
    "label labels span spans ner ner_tags ner_labels annotation annotations result results completion completions "
    "prediction predictions entity entitys ents mention mentions gold bio iob bio_tags tagged named_entities".split()
)
_PACKED = frozenset({".gz", ".zst", ".bz2", ".xz"})
_OPENING = re.compile(r"\{\s*(\"|\}|$)|\[\s*(\{|\[|\"|\]|$)")
_HEADINGS = frozenset(
    "text sentence tweet content id post word words token tokens tag tags label labels ner entity entities pos "
    "caption image index".split()
)


def convert_command(path: str, tool: str) -> str:
    """The command that brings another tool's file to posts."""
    return f"dpe-mner convert {path} --from {tool} --to jsonl --output posts.jsonl"


def tool_hint(path: str, value: object) -> str:
    """``; it looks like doccano's: run dpe-mner convert ...``, or an empty string."""
    tool = foreign_tool(value)
    return f"; it looks like {tool}'s, run: {convert_command(path, tool)}" if tool else ""


def foreign_tool(value: object) -> str | None:  # noqa: C901  one line a tool
    """The tool that writes such an object, by its name for ``--from``."""
    if isinstance(value, list):
        ours = len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict) and "entities" in value[1]
        return "spacy-json" if ours else None
    if not isinstance(value, dict):
        return None
    if "tokenized_text" in value:
        return "gliner"
    if isinstance(value.get("data"), dict) and value.keys() & {
        "annotations",
        "predictions",
        "completions",
        "file_upload",
    }:
        return "label-studio"
    if "paragraphs" in value or (isinstance(value.get("annotations"), list) and "classes" in value):
        return "spacy-json"
    if _items(value, "label", dict) and any("labels" in item for item in value["label"] if isinstance(item, dict)):
        return "label-studio-min"
    if _items(value, "spans", dict):
        return "prodigy"
    if isinstance(value.get("tokens"), list) and value.keys() & {"ner_tags", "ner", "labels", "tags"}:
        return "huggingface"
    for key in ("entities", "annotations"):
        if _items(value, key, dict) and any(isinstance(item, dict) and "start_offset" in item for item in value[key]):
            return "doccano"
    if _items(value, "label", list) or _items(value, "labels", list):
        return "doccano"
    if _items(value, "entities", list):
        return "spacy-json"
    if isinstance(value.get("tokens"), list) and isinstance(value.get("text"), str):
        return "prodigy"
    if isinstance(value.get("tokens"), list) and all(isinstance(token, str) for token in value["tokens"]):
        return "huggingface"
    return None


def _items(value: Mapping[str, Any], key: str, kind: type) -> bool:
    items = value.get(key)
    return isinstance(items, list) and bool(items) and isinstance(items[0], kind)


def label_keys(value: Mapping[str, Any]) -> list[str]:
    """Keys of a post that look like labels, and are not read."""
    found = []
    for key in value:
        if key in _KNOWN:
            continue
        folded = key.strip().lower().replace("-", "_").replace(" ", "_")
        if folded in LABEL_KEYS or folded in _KNOWN or difflib.get_close_matches(folded, ["entities"], cutoff=0.75):
            found.append(key)
    words, tags = value.get("words"), value.get("tags")
    if (
        value.get("entities") is None
        and isinstance(words, list)
        and isinstance(tags, list)
        and len(words) == len(tags) > 0
        and all(isinstance(tag, str) and is_tag(tag) for tag in tags)
    ):
        found.append("tags")
    return found


_KNOWN = frozenset({"id", "text", "words", "image", "caption", "tags", "entities"})


def ending_of(path: str) -> str:
    """The ending that tells what a file holds: that before ``.gz`` and the like."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    if len(suffixes) > 1 and suffixes[-1] in _PACKED:
        return suffixes[0]
    return "" if not suffixes or suffixes[-1] in _PACKED else suffixes[-1]


def is_json(path: str, head: Sequence[tuple[int, str]]) -> bool:
    """Whether a file holds JSON rather than lines of words; where its beginning does not tell, its ending does.

    Args:
        path: The file, or ``-``.
        head: Its first lines.
    """
    named = path == "-" or ending_of(path) in JSON_ENDINGS
    lines = [line.lstrip("\ufeff").strip() for _, line in head]
    lines = [line for line in lines if line]
    if not lines:
        return named
    first = lines[0]
    if first.startswith(("{", "[")):
        cells = cells_of(first)
        if _OPENING.match(first) and not (len(cells) > 1 and is_tag(cells[-1])):
            return len(first) > 1 or len(lines) == 1 or lines[1].startswith(("{", "[", '"', "}", "]"))
        return named
    if not named:
        return False
    if any(line.startswith(("{", "[")) for line in lines):
        return True
    return not (first.upper().startswith("IMGID") or layout_of(head, Columns(), name=path).tagged)


def refuse_foreign(path: str, head: Sequence[tuple[int, str]], columns: Columns) -> None:
    """Refuse what is neither JSON nor lines of words, before anything in it is taken for a word.

    Args:
        path: The file, or ``-``.
        head: Its first lines, which are not JSON.
        columns: What the user said of them.

    Raises:
        InputError: Saying what it looks like and what to do.
    """
    lines = [(number, line.strip()) for number, line in clean_lines(head) if line.strip()]
    if not lines:
        return
    number, first = lines[0]
    if sum("\0" in line for _, line in lines) > len(lines) / 2:
        raise InputError(f"{path}: holds NUL characters; is it UTF-16? Save it as UTF-8")
    if first.lower().startswith(("<?xml", "<!doctype", "<html")):
        raise InputError(f'{path}:{number}: looks like XML or HTML; give JSON Lines with "text", or CoNLL')
    separator = _table_separator([line for _, line in lines])
    tagged = layout_of(lines, columns, name=path).tagged
    if separator is None and not tagged:
        if ending_of(path) == ".csv":
            separator = ","
        elif len(_heading(first, "\t")) >= 2:
            separator = "\t"
    if separator:
        raise InputError(
            f"{path}:{number}: looks like a table with {separator!r} between its cells ({first[:40]!r}); "
            'give JSON Lines with "text", or a word and its tag a line with a tab between'
        )
    counts = [len(cells_of(line)) for _, line in lines if not line.startswith(("IMGID", "#", "-DOCSTART-"))]
    plain = len(set(counts)) > 1 and sum(counts) > 3 * len(counts)
    if plain and columns.tag is None and not tagged:
        annotated = Path(path).with_suffix(".ann") if path != "-" else None
        if annotated is not None and annotated.is_file():
            raise InputError(f"{path}: looks like brat's, run: {convert_command(path, 'brat')}")
        raise InputError(
            f"{path}:{number}: looks like plain text ({first[:40]!r}), not a word a line; "
            'give JSON Lines, {"text": "..."} for each post'
        )


def _table_separator(lines: Sequence[str]) -> str | None:
    """The separator of a CSV file: in every line, with a heading or tags to show for it."""
    for separator in (",", ";"):
        rows = [[cell.strip(' "') for cell in line.split(separator)] for line in lines]
        if any(len(row) < 2 for row in rows[:2]):
            continue
        tagged = sum(len(row) > 1 and is_tag(row[-1]) for row in rows)
        if 2 * len(_heading(lines[0], separator)) >= len(rows[0]) or 2 * tagged > len(rows):
            return separator
    return None


def _heading(line: str, separator: str) -> set[str]:
    """Cells of a line that are names of columns."""
    return {cell.strip(' "').lower() for cell in line.split(separator)} & _HEADINGS


def refuse_binary(path: str) -> None:
    """Refuse files of other tools that are known by their ending or first bytes.

    Raises:
        InputError: With the command to run.
    """
    place = Path(path)
    if path == "-" or not place.is_file():
        if place.is_dir() and any(place.glob("*.ann")):
            raise InputError(f"{path}: is a folder of brat's, run: {convert_command(path, 'brat')}")
        return
    if place.suffix.lower() == ".ann":
        raise InputError(f"{path}: looks like brat's, run: {convert_command(path, 'brat')}")
    try:
        with place.open("rb") as stream:
            head = stream.read(2)
    except OSError:
        return  # whoever opens it next says why
    if place.suffix.lower() == ".spacy" or head in {b"x\x9c", b"x\x01", b"x\xda"}:
        raise InputError(f"{path}: looks like spaCy's DocBin, run: {convert_command(path, 'spacy')}")
