"""Visual text and crops that others made: VinVL/Oscar TSV files, HVPNeT's dictionary of crops."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpe_mner.data.joining import picture_id
from dpe_mner.data.json_values import parse_json
from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError

_TAGS = 5  # the paper's number of object tags


def read_tsv(path: str | os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    """Rows of a VinVL/Oscar TSV file: picture key and the list after it (JSON, or Python's own notation).

    Raises:
        InputError: With the line that cannot be read.
    """
    name = os.fspath(path)
    try:
        with open(name, encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                key, tab, value = line.rstrip("\n").partition("\t")
                if not tab:
                    raise InputError(f"{name}:{number}: no tab; expected key<TAB>list")
                yield key.strip(), _value(value, f"{name}:{number}")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{name}: is not UTF-8 text") from None


def _value(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: nested too deeply
            raise InputError(f"{where}: not a list: {text[:60]!r}") from None


def captions_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """Captions by picture id: rows ``[{"caption": ..., "conf": ...}]``, the most confident of each."""
    found = {}
    for key, rows in read_tsv(path):
        captions = [row for row in rows if isinstance(row, dict) and row.get("caption")]
        if captions:
            best = max(captions, key=lambda row: float(row.get("conf", 0.0)))
            found[picture_id(key)] = str(best["caption"]).strip()
    return found


def tags_of(path: str | os.PathLike[str], *, count: int = _TAGS) -> dict[str, list[str]]:
    """The best different object names by picture id: rows ``[{"class": ..., "conf": ..., "rect": ...}]``."""
    found = {}
    for key, rows in read_tsv(path):
        objects = [row for row in rows if isinstance(row, dict) and row.get("class")]
        objects.sort(key=lambda row: -float(row.get("conf", 0.0)))
        names = dict.fromkeys(str(row["class"]).strip() for row in objects)
        found[picture_id(key)] = list(names)[:count]
    return found


def write_visual_text(path: str | os.PathLike[str], captions: dict[str, str], tags: dict[str, list[str]]) -> int:
    """Join captions and tags into a visual-text JSONL file; the number of its lines.

    Raises:
        InputError: If it cannot be written.
    """
    identifiers = sorted({*captions, *tags})
    lines = []
    for identifier in identifiers:
        row: dict[str, Any] = {"image_id": identifier}
        if identifier in captions:
            row["caption"] = captions[identifier]
        if identifier in tags:
            row["tags"] = tags[identifier]
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    try:
        write_whole(path, "".join(lines))
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be written ({error.strerror})") from None
    return len(identifiers)


def read_crop_index(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Crop files by picture file: JSON as written by :func:`convert_crop_index`, or HVPNeT's ``.pth`` dictionary.

    A ``.pth`` file is read by PyTorch's weights-only loader, which builds plain containers and runs nothing.

    Raises:
        InputError: If it cannot be read or is no such dictionary.
    """
    name = os.fspath(path)
    try:
        if name.endswith((".pth", ".pt")):
            import torch

            values = torch.load(name, map_location="cpu", weights_only=True)
        else:
            values = parse_json(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from None
    except Exception as error:  # unpickling refuses in many ways
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(f"{name}: not a plain dictionary of crops ({reason})") from None
    if not isinstance(values, dict) or not all(
        isinstance(key, str) and isinstance(crops, list | tuple) and all(isinstance(c, str) for c in crops)
        for key, crops in values.items()
    ):
        raise InputError(f'{name}: expected {{"picture.jpg": ["crop.jpg", ...]}}')
    return {key: list(crops) for key, crops in values.items()}


def convert_crop_index(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Write a crop dictionary as JSON; the number of its pictures."""
    index = read_crop_index(source)
    try:
        write_whole(target, json.dumps(index, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{os.fspath(target)}: cannot be written ({error.strerror})") from None
    return len(index)
