"""Posts to word pieces: words, captions and tags through one tokenizer, long posts as overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dpe_mner.data.conventions import convention_number
from dpe_mner.data.words import Words, split_text
from dpe_mner.representations.plain import plain_word
from dpe_mner.representations.word_shapes import character_codes, compound_parts, word_shape
from dpe_mner.settings import EncoderSettings
from dpe_mner.types import Post

_LONGEST_WORD = 128  # characters the encoder reads of one word; offsets always cover the whole word
_CACHE = 200_000


@dataclass(frozen=True)
class Pieces:
    """Word pieces of one sequence with special pieces around, as parallel lists."""

    ids: list[int]
    word_index: list[int]
    shapes: list[int]


@dataclass(frozen=True)
class Window:
    """A stretch of a post that fits the encoder.

    Attributes:
        post: Index of the post in the call.
        first: Its first word in the post.
        words: The words.
        owned: Words ``[from, to)`` of the post whose entities this window answers for.
        text: Pieces of the words.
        characters: Character codes of each word; empty unless they are asked for.
        caption: Pieces of the caption, or None.
        tags: Pieces of the tags, or None.
        convention: Number of the annotation convention to answer by.
        starts: First character of each word in the post's text.
        ends: Character after the last of each.
    """

    post: int
    first: int
    words: Sequence[str]
    owned: tuple[int, int]
    text: Pieces
    characters: list[list[int]]
    caption: Pieces | None
    tags: Pieces | None
    convention: int = 0
    starts: Sequence[int] = ()
    ends: Sequence[int] = ()


@dataclass(frozen=True)
class _WordPieces:
    ids: list[int]
    shapes: list[int]


class WindowTokenizer:
    """Turn posts into windows of pieces.

    Args:
        pretrained: Any Hugging Face tokenizer.
        settings: Windows, caption length, word features.
        max_pieces: Pieces the encoder takes at most, special ones included.
        characters: Give windows the characters of each word, for a model that reads them.
        conventions: Annotation conventions of the model, the default first.
    """

    def __init__(
        self,
        pretrained: Any,
        settings: EncoderSettings,
        *,
        max_pieces: int,
        characters: bool = False,
        conventions: Sequence[str] = (),
    ) -> None:
        self.pretrained = pretrained
        self.settings = settings
        self.max_pieces = max_pieces
        self.characters = characters
        self.conventions = tuple(conventions)
        self._known: dict[str, _WordPieces] = {}

    @cached_property
    def _special(self) -> tuple[list[int], list[int]]:
        """Special pieces before and after a sequence."""
        empty = self.pretrained("")["input_ids"]
        return empty[:1], empty[1:]

    @property
    def pad_id(self) -> int:
        """The padding piece."""
        return self.pretrained.pad_token_id or 0

    def windows(self, post: Post, words: Words, *, index: int = 0) -> list[Window]:
        """Windows of one post; none when it has no word.

        Args:
            post: For its caption and tags.
            words: Its words.
            index: Kept in the windows.

        Raises:
            InputError: If the post names a convention that the model does not know.
        """
        convention = convention_number(post.convention, self.conventions)
        pieces = self._word_pieces(words.words)
        caption = self._visual_text(post.caption)
        tags = self._visual_text(" ".join(post.tags) if post.tags else None)
        spans = self._window_spans([len(p.ids) for p in pieces])
        result = []
        for k, (start, end) in enumerate(spans):
            own_from = 0 if k == 0 else (start + spans[k - 1][1]) // 2
            own_to = len(words) if k + 1 == len(spans) else (spans[k + 1][0] + end) // 2
            part = words.words[start:end]
            result.append(
                Window(
                    post=index,
                    first=start,
                    words=part,
                    owned=(own_from, own_to),
                    text=self._assemble(pieces[start:end]),
                    characters=[character_codes(plain_word(w[:_LONGEST_WORD])) for w in part]
                    if self.characters
                    else [],
                    caption=caption,
                    tags=tags,
                    convention=convention,
                    starts=words.starts[start:end],
                    ends=words.ends[start:end],
                )
            )
        return result

    def _window_spans(self, counts: list[int]) -> list[tuple[int, int]]:
        room = self.max_pieces - sum(map(len, self._special))
        spans: list[tuple[int, int]] = []
        start = 0
        while start < len(counts):
            end, used = start, 0
            while end < len(counts) and end - start < self.settings.window_words and used + counts[end] <= room:
                used += counts[end]
                end += 1
            end = max(end, start + 1)
            spans.append((start, end))
            if end == len(counts):
                break
            start = max(end - min(self.settings.window_overlap, (end - start) // 2), start + 1)
        return spans

    def _word_pieces(self, words: Sequence[str]) -> list[_WordPieces]:
        unknown = [w for w in dict.fromkeys(words) if w not in self._known]
        if unknown:
            if len(self._known) + len(unknown) > _CACHE:
                self._known.clear()
                unknown = list(dict.fromkeys(words))
            self._known.update(zip(unknown, self._tokenize(unknown), strict=True))
        return [self._known[w] for w in words]

    def _tokenize(self, words: Sequence[str]) -> list[_WordPieces]:
        short = [plain_word(w[:_LONGEST_WORD])[:_LONGEST_WORD] for w in words]
        parts = [[w] for w in short]
        if self.settings.split_compounds:
            whole = self.pretrained([f" {w}" for w in short], add_special_tokens=False)["input_ids"]
            # LeBron is a word of the vocabulary; only what falls to pieces anyway is cut where its writer cut it.
            parts = [[w] if len(ids) < 2 else compound_parts(w) for w, ids in zip(short, whole, strict=True)]
        # The space before makes byte-level tokenizers see the start of a word; others ignore it.
        flat = [f" {part}" for word_parts in parts for part in word_parts]
        encoded = iter(self.pretrained(flat, add_special_tokens=False)["input_ids"])
        room = self.max_pieces - sum(map(len, self._special))
        result = []
        for word_parts in parts:
            ids, shapes = [], []
            for part in word_parts:
                part_ids = next(encoded)
                ids += part_ids
                shapes += [word_shape(part)] * len(part_ids)
            if not ids:  # a word the tokenizer drops (zero-width, empty) still is a word with a place
                ids, shapes = [self.pretrained.unk_token_id], [word_shape("")]
            result.append(_WordPieces(ids[:room], shapes[:room]))
        return result

    def _assemble(self, pieces: Sequence[_WordPieces]) -> Pieces:
        before, after = self._special
        ids, index, shapes = list(before), [-1] * len(before), [0] * len(before)
        for position, word in enumerate(pieces):
            ids += word.ids
            index += [position] * len(word.ids)
            shapes += word.shapes
        return Pieces(ids + list(after), index + [-1] * len(after), shapes + [0] * len(after))

    def _visual_text(self, text: str | None) -> Pieces | None:
        words = split_text(text).words if text else []
        if not words:
            return None
        full = self._assemble(self._word_pieces(words))
        limit = min(self.settings.caption_pieces, self.max_pieces)
        if len(full.ids) <= limit:
            return full
        return Pieces(full.ids[:limit], full.word_index[:limit], full.shapes[:limit])


def piece_limit(encoder: Any) -> int:
    """Pieces an encoder of this configuration takes at most, special ones included."""
    positions = getattr(encoder, "max_position_embeddings", 512)
    # RoBERTa's family starts its positions after the padding index.
    reserved = (encoder.pad_token_id or 0) + 1 if "roberta" in encoder.model_type else 0
    return max(positions - reserved, 8)
