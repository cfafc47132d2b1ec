"""Loading a provider's model: quietly, one clear line when it is not available, and a fingerprint of its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_SAMPLE = 2**20  # bytes read at both ends of a weights file
_WEIGHTS = ("*.safetensors", "*.bin", "*.onnx")


class ProviderError(Exception):
    """Why a provider cannot work here, in one line."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No load reports and bars."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def load_part(what: str, name: str, make: Callable[[], T]) -> T:
    """Run a ``from_pretrained`` and turn its many ways to fail into one line.

    Raises:
        ProviderError: Naming the model, the reason and what to do.
    """
    try:
        with quiet_transformers():
            return make()
    except ProviderError:
        raise
    except ImportError as error:
        raise ProviderError(f"{what} {name!r}: {_line(error)}; install what is missing") from None
    except Exception as error:  # hub, disk, format and shape errors all have kinds of their own
        raise ProviderError(f"{what} {name!r}: cannot be loaded ({_line(error)}); give a hub id or a folder") from None


def fingerprint(name: str, *, commit: str | None = None) -> str:
    """A short hash that tells one set of weights from another, wherever the folder lies.

    A folder or file is told by its configuration and the size, beginning and end of its weights; a hub model by its
    name and commit.
    """
    path = Path(name)
    digest = hashlib.sha256()
    if path.is_file():
        _add_file(digest, path)
    elif path.is_dir():
        for config in sorted(path.glob("*config.json")):
            values = json.loads(config.read_text(encoding="utf-8"))
            digest.update(json.dumps(values, sort_keys=True).encode())
        for pattern in _WEIGHTS:
            for weights in sorted(path.glob(pattern)):
                _add_file(digest, weights)
    else:
        digest.update(f"{name}@{commit or 'unknown'}".encode())
    return digest.hexdigest()[:16]


def _add_file(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        digest.update(f"{size}".encode() + stream.read(_SAMPLE))
        if size > _SAMPLE:
            stream.seek(max(size - _SAMPLE, 0))
            digest.update(stream.read(_SAMPLE))


def need(module: str, what: str, extra: str) -> Any:
    """Import an optional library.

    Raises:
        ProviderError: With the install command.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise ProviderError(f"{what} needs {module}; pip install 'dpe-mner[{extra}]'") from None


def _line(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first[:200]
