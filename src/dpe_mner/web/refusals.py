"""Why a request is not answered, always as ``{"error": {"code", "message", "where"}}``."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

_MOST_SHOWN = 200  # characters of a message: what was sent is not sent back at length


class Refused(Exception):
    """A request that cannot be answered.

    Args:
        status: Of HTTP.
        code: One word for programs: ``too_large``, ``too_long``, ``invalid``, ``busy``, ...
        message: One line for people: what is wrong, what to do.
        where: The field, as ``posts.3.text``; empty for the whole request.
        headers: To send with it.
    """

    def __init__(
        self, status: int, code: str, message: str, *, where: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.where = status, code, message, where
        self.headers = headers

    def response(self) -> JSONResponse:
        """As it is sent."""
        return JSONResponse(error_body(self.code, self.message, self.where), self.status, self.headers)


def error_body(code: str, message: str, where: str = "") -> dict[str, Any]:
    """The JSON of an error."""
    line = " ".join(message.split())
    short = line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"
    return {"error": {"code": code, "message": short, "where": where}}


def invalid(error: ValidationError) -> Refused:
    """The first thing that pydantic found wrong."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part)[:40] for part in first["loc"] if not str(part).startswith(("str", "list[")))
    known = {"extra_forbidden": "is not a field of this request", "missing": "is missing"}
    message = known.get(first["type"], first["msg"].removeprefix("Value error, "))
    return Refused(422, "invalid", f"{where}: {message}" if where else message, where=where)
