"""Tokenizers: transformers' own, or a checkpoint's ``tokenizer.json`` on the tokenizers library alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dpe_mner.errors import InputError

VOCABULARY, DESCRIPTION = "tokenizer.json", "tokenizer_config.json"
_OTHERS = ("vocab.txt", "vocab.json", "bpe.codes", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_LEAST_SHARE = 0.9  # of an encoder's embeddings that its tokenizer uses, at the least


class PlainTokenizer:
    """What :class:`~dpe_mner.representations.windows.WindowTokenizer` needs of a tokenizer.

    Args:
        path: ``tokenizer.json``.
        pad_id: Padding piece.
        unknown_id: Piece of what the vocabulary lacks.
        description: Text of ``tokenizer_config.json``, written beside it when the tokenizer is saved.
    """

    def __init__(
        self, path: str, *, pad_id: int | None = None, unknown_id: int | None = None, description: str = "{}"
    ) -> None:
        from tokenizers import Tokenizer

        self.backend_tokenizer = Tokenizer.from_file(path)
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        self.description = description
        self.pad_token_id = self._named("pad_token") if pad_id is None else pad_id
        self.unk_token_id = self._named("unk_token") if unknown_id is None else unknown_id
        self.mask_token_id = self._named("mask_token")

    def _named(self, name: str) -> int | None:
        token = json.loads(self.description).get(name)
        content = token.get("content") if isinstance(token, dict) else token
        return self.backend_tokenizer.token_to_id(content) if isinstance(content, str) else None

    def __call__(self, text: str | list[str], *, add_special_tokens: bool = True) -> dict[str, Any]:
        """Pieces of a text or of a list of texts."""
        if isinstance(text, str):
            return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}
        found = self.backend_tokenizer.encode_batch(text, add_special_tokens=add_special_tokens)
        return {"input_ids": [encoding.ids for encoding in found]}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write both files; transformers' ``AutoTokenizer`` reads them."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        self.backend_tokenizer.save(str(root / VOCABULARY))
        (root / DESCRIPTION).write_text(self.description, encoding="utf-8")


def load_tokenizer(name: str) -> Any:
    """Transformers' tokenizer of an encoder or a checkpoint.

    Args:
        name: Folder or hub id.

    Raises:
        InputError: If there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name}: no usable tokenizer ({str(error).splitlines()[0]})") from None


def checkpoint_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint: without transformers where its files allow it.

    Raises:
        InputError: If there is none.
    """
    vocabulary, description = folder / VOCABULARY, folder / DESCRIPTION
    refuse_without_vocabulary(folder)
    if not description.is_file():
        raise InputError(f"{folder}: no {DESCRIPTION}; a checkpoint comes with its tokenizer")
    if not vocabulary.is_file():
        return load_tokenizer(str(folder))
    try:
        tokenizer = PlainTokenizer(str(vocabulary), description=description.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises bare Exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: no usable tokenizer ({reason})") from None
    if tokenizer.pad_token_id is None:
        raise InputError(f"{description}: names no pad_token that {VOCABULARY} knows; the files do not belong together")
    return tokenizer


def refuse_without_vocabulary(folder: Path) -> None:
    """Refuse a folder in which transformers would find no piece, and go on with an empty vocabulary.

    Raises:
        InputError: Naming the file.
    """
    if not any((folder / name).is_file() for name in (VOCABULARY, *_OTHERS)):
        raise InputError(f"{folder}: no {VOCABULARY}; a checkpoint comes with its tokenizer")


def vocabulary_size(tokenizer: Any) -> int:
    """Pieces a tokenizer knows, added ones included."""
    return len(tokenizer) if hasattr(tokenizer, "__len__") else tokenizer.backend_tokenizer.get_vocab_size()


def check_vocabulary(tokenizer: Any, folder: Path, *, size: int | None, rows: object) -> None:
    """Refuse a tokenizer that is not the one its model was trained with.

    Args:
        tokenizer: As loaded.
        folder: Named in the error.
        size: Pieces it had when the checkpoint was written; None if nobody wrote that down.
        rows: Embeddings of the encoder: often more than there are pieces, rounded up, and never fewer.

    Raises:
        InputError: If the numbers do not agree.
    """
    known = vocabulary_size(tokenizer)
    if size is not None and known != size:
        raise InputError(f"{folder}: its tokenizer knows {known} pieces and the model {size}; it is another model's")
    if isinstance(rows, int) and not _LEAST_SHARE * rows <= known <= rows:
        raise InputError(
            f"{folder}: its tokenizer knows {known} pieces and the encoder {rows}; it is another model's, or damaged"
        )
