"""Answers on disk, a small file each, so that no request is paid twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dpe_mner.data.writing import write_whole
from dpe_mner.errors import InputError
from dpe_mner.llm.request import Answer, Usage


class AnswerCache:
    """Answers by the SHA-256 of their request.

    Args:
        folder: Made when it is needed. Runs may share it, also at the same time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, while no answer can be lost yet.

        Raises:
            InputError: If answers could not be kept there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            reason = None if os.access(self.folder, os.W_OK) else "read-only"
        except OSError as error:
            reason = error.strerror
        if reason:
            raise InputError(f"{self.folder}: answers cannot be kept there ({reason}); choose another folder")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def read(self, key: str) -> Answer | None:
        """The answer to a request; None if there is none, or only what is none, as after a damaged disk."""
        try:
            value = json.loads(self._path(key).read_text(encoding="utf-8"))
            used = value["usage"]
            return Answer(
                content=str(value["content"]),
                finish_reason=str(value["finish_reason"]),
                usage=None if used is None else Usage(tokens_in=int(used["in"]), tokens_out=int(used["out"])),
                model=str(value["model"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            InputError: If it cannot be written.
        """
        path = self._path(key)
        usage = answer.usage
        value = {
            "content": answer.content,
            "finish_reason": answer.finish_reason,
            "usage": None if usage is None else {"in": usage.tokens_in, "out": usage.tokens_out},
            "model": answer.model,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(value) + "\n")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); answers before it are kept") from None
