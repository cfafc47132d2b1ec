"""Posts to the parts of their pictures: from a store where it has them, else made on the spot.

What comes with the post wins: a given caption is never replaced, given tags neither.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpe_mner.data.addresses import address_kind
from dpe_mner.data.joining import picture_names
from dpe_mner.pictures.kinds import Kind, PictureParts, Regions
from dpe_mner.pictures.opening import Picture, PictureError, content_key, open_picture, picture_name, read_bytes
from dpe_mner.pictures.phrases import Cue, spans_of
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.store import PictureStore, region_part
from dpe_mner.pictures.weights import ProviderError
from dpe_mner.settings import PictureSettings
from dpe_mner.types import Post

_OPEN_TOGETHER = 16  # decoded pictures in memory at once


@dataclass(frozen=True)
class Illustrated:
    """A post with its picture's captions and tags filled in, and all parts."""

    post: Post
    parts: PictureParts


@dataclass(frozen=True)
class StoredPicture:
    """Where a post's stored parts lie: key of the picture, part key of each kind, and what its regions are for."""

    key: str
    parts: dict[Kind, str]
    cues: Sequence[Cue] = ()


class PictureSource:
    """Gives posts the parts of their pictures.

    Args:
        reader: Makes parts.
        store: Looked into first.
        images: Folder that the store's file names count from.
        fetch_urls: Download pictures given as URLs.
    """

    def __init__(
        self,
        reader: PictureReader,
        *,
        store: PictureStore | None = None,
        images: str | os.PathLike[str] | None = None,
        fetch_urls: bool = False,
    ) -> None:
        self.reader = reader
        self.store = store
        self.images = Path(images) if images is not None else None
        self.fetch_urls = fetch_urls

    def __call__(self, posts: Sequence[Post]) -> list[Illustrated]:
        """Parts of each post's picture; a post without one gets none, one whose picture fails gets a warning."""
        found = [PictureParts() for _ in posts]
        waiting: dict[tuple[Kind, ...], list[int]] = {}  # posts that lack the same parts are made together
        for k, post in enumerate(posts):
            if post.image is None:
                continue
            wanted = [kind for kind in self.reader.kinds if needed(kind, post)]
            found[k] = self._stored(post, wanted)
            rest = tuple(kind for kind in wanted if getattr(found[k], kind) is None)
            if rest:
                waiting.setdefault(rest, []).append(k)
        for kinds, members in waiting.items():
            for start in range(0, len(members), _OPEN_TOGETHER):
                self._make(posts, kinds, members[start : start + _OPEN_TOGETHER], found)
        return [Illustrated(illustrate(post, parts), parts) for post, parts in zip(posts, found, strict=True)]

    def _make(
        self, posts: Sequence[Post], kinds: Sequence[Kind], members: Sequence[int], found: list[PictureParts]
    ) -> None:
        """Fill in what the store does not have."""
        opened: list[tuple[int, Picture]] = []
        for k in members:
            try:
                opened.append((k, self._open(posts[k])))
            except PictureError as error:
                line = f"{picture_name(posts[k].image)}: {error}; the text is used without it"
                found[k] = replace(found[k], warnings=(line,))
        made = self.reader(
            [picture for _, picture in opened],
            kinds=kinds,
            queries=[self.reader.query(post_text(posts[k])) for k, _ in opened],
        )
        for (k, _), new in zip(opened, made, strict=True):
            filled = {kind: getattr(new, kind) for kind in kinds}
            if filled.get("regions") is not None:
                filled["regions"] = _with_phrases(filled["regions"], self.reader.cues(post_text(posts[k])))
            found[k] = replace(found[k], **filled, warnings=new.warnings)

    def _open(self, post: Post) -> Picture:
        side = self.reader.settings.longest_side
        return open_picture(post.image, longest_side=side, fetch_urls=self.fetch_urls)

    def locate(self, post: Post) -> StoredPicture | None:
        """Where the store holds a post's picture; None when it does not know it."""
        key = self._key(post)
        if key is None:
            return None
        found: dict[Kind, str] = {}
        for kind in self.reader.kinds:
            try:
                part = self.reader.key(kind)
            except ProviderError:
                continue
            found[kind] = region_part(part, self.reader.query(post_text(post))) if kind == "regions" else part
        return StoredPicture(key, found, self.reader.cues(post_text(post)))

    def _key(self, post: Post) -> str | None:
        if self.store is None or post.image is None:
            return None
        if isinstance(post.image, str | os.PathLike) and address_kind(post.image) in (None, "web"):
            path = Path(post.image)
            for name in self._names(path):
                seen = self.store.seen(name)
                if seen is not None and (not os.path.isfile(path) or path.stat().st_size == seen.size):
                    return seen.key
        elif not isinstance(post.image, str | os.PathLike | bytes | bytearray | memoryview):
            return None
        try:
            return content_key(read_bytes(post.image))
        except PictureError:
            return None

    def _names(self, path: Path) -> list[str]:
        """Names a picture may have in the store; where the pictures are not, its ending is not known either."""
        inside = self.images is not None and path.is_relative_to(self.images)
        names = [str(path.relative_to(self.images)) if self.images is not None and inside else path.name, path.name]
        if not os.path.isfile(path):
            names += [other for name in names for other in picture_names(name)]
            if Path(names[0]).name:
                names += [str(Path(names[0]).with_name(other)) for other in picture_names(path.name)]
        return list(dict.fromkeys(names))

    def _stored(self, post: Post, wanted: Sequence[Kind]) -> PictureParts:
        place = self.locate(post)
        if place is None or self.store is None:
            return PictureParts()
        found = {kind: load_part_of(self.store, place, kind) for kind in wanted if kind in place.parts}
        return PictureParts(**found)  # type: ignore[arg-type]


def picture_source(
    settings: PictureSettings,
    *,
    device: str,
    models: Mapping[str, str] | None = None,
    store: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    fetch_urls: bool = False,
) -> PictureSource | None:
    """What gives a model the parts its settings ask for; None when they ask for none.

    Args:
        settings: Which parts, by which models.
        device: Where those models compute.
        models: Where they lie on this machine, by kind.
        store: Parts made before; looked into first.
        images: Folder that the names in the store count from.
        fetch_urls: Download pictures given as URLs.

    Raises:
        InputError: If a name or the store is wrong.
    """
    reader = PictureReader(settings, device=device, models=models)
    opened = PictureStore(store) if store is not None else None
    source = PictureSource(reader, store=opened, images=images, fetch_urls=fetch_urls)
    return source if reader.kinds else None


def load_part_of(store: PictureStore, place: StoredPicture, kind: Kind) -> object:
    """One part from a store, None when it is not there."""
    part = place.parts[kind]
    if kind == "grid":
        return store.features(place.key, part)
    if kind == "regions":
        regions = store.regions(place.key, part)
        return None if regions is None else _with_phrases(regions, place.cues)
    if kind == "tags":
        return store.tags(place.key, part)
    if kind == "objects":
        return store.objects(place.key, part)
    return store.text(place.key, part)


def _with_phrases(regions: Regions, cues: Sequence[Cue]) -> Regions:
    """Regions with the places of their phrases in one post's text."""
    return replace(regions, phrases=spans_of(regions.labels, cues)) if cues else regions


def needed(kind: Kind, post: Post) -> bool:
    """Whether a part is to be made for a post: not when the post brings it."""
    if kind == "caption":
        return post.caption is None
    if kind == "tags":
        return post.tags is None
    return True


def illustrate(post: Post, parts: PictureParts) -> Post:
    """The post with caption (and text read in the picture) and tags filled in."""
    caption = post.caption if post.caption is not None else parts.caption
    if parts.ocr:
        caption = f"{caption} {parts.ocr}" if caption else parts.ocr
    tags = post.tags
    if tags is None and parts.tags is not None:
        tags = [detection.label for detection in parts.tags]
    return replace(post, caption=caption, tags=tags)


def post_text(post: Post) -> str:
    """A post's text, its words joined when it has no other."""
    return post.text if post.text is not None else " ".join(post.words or ())
