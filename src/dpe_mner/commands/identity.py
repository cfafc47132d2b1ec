"""What predictions depend on, so that a run is gone on with only if it would have written the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from dpe_mner.commands.console import cannot_write
from dpe_mner.data.files import expand
from dpe_mner.data.stretches import is_live
from dpe_mner.errors import InputError
from dpe_mner.scale.sources import Source, pictures_of

_WHOLE = 1 << 22  # bytes up to which a file of a checkpoint is read whole; of a larger one three samples are
_SAMPLE = 1 << 20
_READ = frozenset({".json", ".onnx", ".safetensors"})  # endings of the files of a checkpoint that a prediction reads
_NOT_READ = frozenset({"metrics.json"})


def absolute(path: str | os.PathLike[str] | None) -> str:
    """A path that means the same in another folder; a name that is no path, as a hub id, stays as it is."""
    return "" if path is None else os.path.realpath(path) if os.path.exists(path) else str(path)


def file_digest(name: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes; of what can be read only once, a value that never comes again.

    Raises:
        InputError: If it cannot be read.
    """
    if os.fspath(name) == "-" or is_live(os.fspath(name)):
        return f"read once, {time.time_ns()}"
    with cannot_write(name), open(expand(name), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_digest(name: str | None) -> str:
    """SHA-256 of a checkpoint: of its small files, and of size and samples of its weights.

    Args:
        name: Folder or hub id; the bundled model when not given.

    Raises:
        InputError: If there is none.
    """
    from dpe_mner.checkpoints.hub import bundled_folder, checkpoint_folder

    folder = bundled_folder() if name is None else checkpoint_folder(name)
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _READ and path.name not in _NOT_READ and path.is_file():
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(_sampled(path))
    return digest.hexdigest()


def sources_digest(sources: Iterable[Source]) -> str:
    """SHA-256 of the names, the sizes and samples of the content of what a bulk run reads; of pictures, no content.

    Raises:
        InputError: If something cannot be read.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = Path(source.path)
        pictures = source.kind == "pictures"
        try:
            for file in pictures_of(path) if pictures else [path]:
                digest.update(
                    f"{source.name} {file.relative_to(path)} {file.stat().st_size}\n".encode(errors="replace")
                )
                digest.update(b"" if pictures else _sampled(file))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    return digest.hexdigest()


def _sampled(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _WHOLE:
            return stream.read()
        parts = []
        for start in (0, size // 2, size - _SAMPLE):
            stream.seek(start)
            parts.append(stream.read(_SAMPLE))
        return b"".join(parts)


def what_it_depends_on(
    *,
    digest: str,
    model: str | None,
    visual_text: Path | None,
    options: Mapping[str, object],
) -> dict[str, str]:
    """Everything that decides what is written for the posts of a file, by the name users know it by.

    Args:
        digest: Of the posts: :func:`file_digest` or :func:`sources_digest`.
        model: Folder or hub id.
        visual_text: Captions and tags.
        options: Flags and their values; those that change no answer are left out.
    """
    from dpe_mner.version import __version__

    return {
        "input": digest,
        "--model": model_digest(model),
        "--visual-text": "" if visual_text is None else file_digest(visual_text),
        "version of dpe-mner": __version__,
        **{name: str(value) for name, value in options.items()},
    }
