"""Where checkpoints lie: in the package, in a folder, or on the Hugging Face hub, by huggingface_hub."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

from dpe_mner.errors import InputError

_BUNDLED = "assets/bundled"
_SMALL = ["*.json", "*.md", "*.txt", "*.model"]
_WEIGHTS = ["*.safetensors", "model.onnx"]


def bundled_folder() -> Path:
    """Folder of the model that comes with the package.

    Raises:
        InputError: If this installation has none.
    """
    folder = Path(str(resources.files("dpe_mner"))) / _BUNDLED
    if not (folder / "model.safetensors").is_file():
        raise InputError("this installation has no bundled model; name one with --model FOLDER")
    return folder


def checkpoint_folder(
    name: str | os.PathLike[str],
    *,
    weights: bool = True,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """Where a checkpoint lies on this machine.

    Args:
        name: Folder, or the id of a repository on the hub, which is fetched unless it lies in the cache.
        weights: Fetch the weights too.
        revision: Branch, tag or commit.
        token: Of the hub, for private repositories.
        cache_dir: The hub's own when not given.
        local_files_only: Fetch nothing.

    Raises:
        InputError: If there is no such folder or repository.
    """
    if not isinstance(name, str | os.PathLike) or not str(name):
        raise InputError(f"a checkpoint is a folder or a hub id, not {str(name)[:40]!r}; e.g. load('runs/mine')")
    path, text = Path(name).expanduser() if str(name).startswith("~") else Path(name), str(name)
    if path.is_dir():
        return path
    if path.exists() or text.startswith((".", "/", "~")):
        raise InputError(f"{text}: no such checkpoint folder")
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            text,
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else str(cache_dir),
            local_files_only=local_files_only,
            allow_patterns=_SMALL + _WEIGHTS if weights else _SMALL,
        )
    except Exception as error:  # the HTTP client below has kinds of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{text}: no such folder here, and not fetched from the hub ({reason[:200]}); "
            "give a folder written by 'dpe-mner train', or a hub id"
        ) from None
    return Path(found)


def upload(folder: Path, repository: str, *, private: bool | None, token: str | bool | None, **commit: Any) -> Any:
    """Send a checkpoint's folder to the hub; the repository is made if there is none.

    Args:
        folder: The checkpoint.
        repository: Its id on the hub.
        private: Of a new repository.
        token: Of the hub; the one logged in with when not given.
        commit: ``revision``, ``commit_message``, ``create_pr``, ... of ``HfApi.upload_folder``.

    Returns:
        What the hub says of the commit.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    made = api.create_repo(repository, private=private, exist_ok=True)
    return api.upload_folder(repo_id=made.repo_id, folder_path=folder, **commit)
