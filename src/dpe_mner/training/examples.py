"""Labelled posts to training examples: windows with their gold spans in class numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpe_mner.data.gold import gold_words
from dpe_mner.data.words import words_of
from dpe_mner.pictures.kinds import Kind, PictureParts
from dpe_mner.pictures.source import PictureSource, StoredPicture, illustrate, load_part_of, needed
from dpe_mner.pictures.store import PictureStore
from dpe_mner.predictor import features_of
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.collate import GoldSpan, collate
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.representations.windows import Window, WindowTokenizer
from dpe_mner.types import Post


@dataclass(frozen=True)
class Example:
    """A window, its gold spans in the window's own words, where its picture's features are stored, and its source."""

    window: Window
    gold: list[GoldSpan]
    picture: StoredPicture | None = None
    source: int = 0

    @property
    def length(self) -> int:
        """Pieces the encoder reads, to group batches by."""
        return len(self.window.text.ids)


def make_examples(
    posts: Sequence[Post],
    tokenizer: WindowTokenizer,
    labels: Sequence[str],
    pictures: PictureSource | None = None,
    *,
    source: int = 0,
    log: Callable[[str], None] | None = None,
) -> list[Example]:
    """Examples of labelled posts. Posts without a word give none; entities are kept where they fit a window whole.

    Args:
        posts: Labelled.
        tokenizer: The tokenizer.
        labels: Entity types.
        pictures: With a store: captions and tags are read from it now, features when a batch needs them.
        source: Number of the corpus they come from.
        log: Receives a line when something is left out.
    """
    number = {label: c for c, label in enumerate(labels, start=1)}
    examples = []
    entities = too_long = 0
    for index, given in enumerate(posts):
        post, picture = with_stored_text(given, pictures), None
        if pictures is not None:
            picture = pictures.locate(given)
        words = words_of(post)
        spans = [(first, last, number[label]) for first, last, label in gold_words(post, words)]
        taken: set[GoldSpan] = set()
        for window in tokenizer.windows(post, words, index=index):
            start, end = window.first, window.first + len(window.words)
            inside = [span for span in spans if start <= span[0] and span[1] < end]
            taken.update(inside)
            examples.append(Example(window, [(f - start, t - start, c) for f, t, c in inside], picture, source))
        entities += len(spans)
        too_long += len(spans) - len(taken)
    if log is not None and too_long:
        log(
            f"warning: left out of training: {too_long} of {entities} entities, longer than a window "
            f"({tokenizer.settings.window_words} words, {tokenizer.max_pieces} pieces)"
        )
    return examples


def with_stored_text(post: Post, pictures: PictureSource | None) -> Post:
    """The post with caption and tags from the store where it brings none of its own."""
    place = pictures.locate(post) if pictures is not None else None
    if place is None or pictures is None or pictures.store is None:
        return post
    kinds: tuple[Kind, ...] = ("caption", "tags", "ocr")
    found = {
        kind: load_part_of(pictures.store, place, kind) for kind in kinds if kind in place.parts and needed(kind, post)
    }
    return illustrate(post, PictureParts(**found))  # type: ignore[arg-type]


class ExampleCollator:
    """Examples to the model's keyword arguments.

    Args:
        pad_id: Padding piece.
        store: Features are read from it, batch by batch; it travels to worker processes as a path.
    """

    def __init__(self, *, pad_id: int, store: PictureStore | None = None) -> None:
        self.pad_id = pad_id
        self.store = store

    def __call__(self, examples: Sequence[Example]) -> dict[str, Batch]:
        """Build the batch."""
        windows = [example.window for example in examples]
        gold = [example.gold for example in examples]
        images = [self._features(example.picture) for example in examples] if self.store is not None else None
        return {"batch": collate(windows, pad_id=self.pad_id, gold=gold, images=images)}

    def _features(self, place: StoredPicture | None) -> PostFeatures:
        if place is None or self.store is None:
            return PostFeatures()
        kinds: tuple[Kind, ...] = ("grid", "regions", "objects")
        found = {kind: load_part_of(self.store, place, kind) for kind in kinds if kind in place.parts}
        return features_of(PictureParts(**found))  # type: ignore[arg-type]
