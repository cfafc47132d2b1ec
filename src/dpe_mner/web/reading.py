"""Bodies of requests to posts: JSON, or a form with a picture, checked against the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from dpe_mner.types import Post
from dpe_mner.web.limits import Limits
from dpe_mner.web.pictures import AT_ONCE, check_picture, picture_bytes
from dpe_mner.web.refusals import Refused, invalid
from dpe_mner.web.schemas import BatchRequest, ChoicesIn, FormRequest, PostIn, PostRequest

JSON, FORM = "application/json", "multipart/form-data"
_LISTS = ("tags", "words")
_MOST_FIELDS = 2_000
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class Read:
    """What a request asks."""

    posts: list[Post]
    choices: ChoicesIn


class Reader:
    """Reads requests.

    Args:
        limits: What a request may hold.
        conventions: That a post may name.
    """

    def __init__(self, limits: Limits, conventions: Sequence[str]) -> None:
        self.limits, self.conventions = limits, tuple(conventions)
        self._decoding = anyio.Semaphore(AT_ONCE)

    async def one(self, request: Request) -> Read:
        """One post from JSON or from a form.

        Raises:
            Refused: With what is wrong.
        """
        kind = _kind(request)
        if kind == JSON:
            found = _parsed(PostRequest, await request.body())
            return Read([await self._post(found, "")], found)
        if kind == FORM:
            values, picture = await self._form(request)
            try:
                found = FormRequest.model_validate(values)
            except ValidationError as error:
                raise invalid(error) from None
            return Read([await self._post(found, "", picture)], found)
        raise _unsupported(kind, f"{JSON}, or {FORM} to bring a picture")

    async def several(self, request: Request) -> Read:
        """The posts of a batch.

        Raises:
            Refused: With what is wrong, and in which post.
        """
        kind = _kind(request)
        if kind != JSON:
            raise _unsupported(kind, JSON)
        found = _parsed(BatchRequest, await request.body())
        if len(found.posts) > self.limits.posts:
            message = f"posts: {len(found.posts)} in one batch; at most {self.limits.posts}, send several"
            raise Refused(422, "too_long", message, where="posts")
        return Read([await self._post(post, f"posts.{k}.") for k, post in enumerate(found.posts)], found)

    async def _form(self, request: Request) -> tuple[dict[str, Any], bytes | None]:
        values: dict[str, Any] = {}
        picture: bytes | None = None
        most = self.limits.body_bytes
        async with request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=most) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    if name != "image":
                        raise Refused(422, "invalid", f"{name[:40]}: is not a file; only image is", where=name[:40])
                    picture = await value.read()
                elif name in _LISTS:
                    values.setdefault(name, []).append(value)
                elif name in values:
                    raise Refused(422, "invalid", f"{name[:40]}: is given twice", where=name[:40])
                elif value or name == "text":  # an empty field of a form is one that was not filled in
                    values[name] = value
        tags = values.get("tags")
        if tags is not None and len(tags) == 1:
            values["tags"] = tags[0]
        if picture is not None and "image" in values:
            raise Refused(422, "invalid", "image: is given twice", where="image")
        return values, picture or None

    async def _post(self, given: PostIn, where: str, picture: bytes | None = None) -> Post:
        self._check(given, where)
        if given.image is not None:
            picture = picture_bytes(given.image, where=f"{where}image")
        if picture is not None:
            async with self._decoding:
                await anyio.to_thread.run_sync(_checked, picture, self.limits, f"{where}image")
        return Post(
            id=given.id,
            text=given.text,
            words=given.words,
            image=picture,
            caption=given.caption,
            tags=given.tags,
            convention=given.convention,
        )

    def _check(self, given: PostIn, where: str) -> None:
        limits = self.limits
        words, tags = given.words or (), given.tags or ()
        sizes = (
            ("text" if given.words is None else "words", len(given.text or "") + _joined(words), limits.characters),
            ("caption", len(given.caption or ""), limits.caption_characters),
            ("tags", _joined(tags), limits.caption_characters),
        )
        for name, size, most in sizes:
            if size > most:
                message = f"{where}{name}: has {size} characters; at most {most}"
                raise Refused(422, "too_long", message, where=f"{where}{name}")
        known = ", ".join(self.conventions) or "none"
        if given.convention is not None and given.convention not in self.conventions:
            message = f"{where}convention: this model does not know it; it knows: {known}"
            raise Refused(422, "invalid", message, where=f"{where}convention")


def check_choices(choices: ChoicesIn, limits: Limits) -> None:
    """Refuse more work than one request may ask for.

    Raises:
        Refused: Naming the field.
    """
    for name, value, most in (("steps", choices.steps, limits.steps), ("spans", choices.spans, limits.spans)):
        if value is not None and value > most:
            raise Refused(422, "too_long", f"{name}: at most {most} here, got {value}", where=name)


def _joined(parts: Sequence[str]) -> int:
    return sum(map(len, parts)) + len(parts)


def _checked(data: bytes, limits: Limits, where: str) -> None:
    check_picture(data, limits, where=where)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unsupported(kind: str, wanted: str) -> Refused:
    got = f"not {kind[:60]}" if kind else "and say so in Content-Type"
    return Refused(415, "content_type", f"send {wanted}, {got}")


def _parsed(model: type[B], body: bytes) -> B:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
