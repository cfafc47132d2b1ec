"""The OpenAPI schema: FastAPI's, with the bodies that are read by hand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from dpe_mner.web.reading import FORM, JSON
from dpe_mner.web.schemas import BatchRequest, ErrorOut, PostRequest

_PLACE = "#/components/schemas/{model}"
_ERRORS = {
    401: "A token is needed.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The content type is not one of those above.",
    422: "Something in the request is wrong; the message says what and where.",
    429: "Too much waits; try again in a moment.",
    500: "A fault of the service.",
    503: "The service is stopping.",
}


def body_of(name: str, *, form: bool = False) -> dict[str, Any]:
    """``openapi_extra`` of an endpoint that reads a body of this schema; ``form`` for the multipart one besides."""
    content: dict[str, Any] = {JSON: {"schema": {"$ref": _PLACE.format(model=name)}}}
    if form:
        content[FORM] = {"schema": _form()}
    return {"requestBody": {"required": True, "content": content}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` of an endpoint."""
    return {status: {"model": ErrorOut, "description": _ERRORS[status]} for status in statuses}


def install(app: FastAPI) -> None:
    """Give the application its schema, made once."""

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                summary=app.summary,
                routes=app.routes,
            )
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            for model in (PostRequest, BatchRequest):
                schemas |= _with_parts(model)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]


def _with_parts(model: type[BaseModel]) -> dict[str, Any]:
    whole = model.model_json_schema(ref_template=_PLACE)
    parts = whole.pop("$defs", {})
    return {**parts, model.__name__: whole}


def _form() -> dict[str, Any]:
    text = {"type": "string"}
    number = {"type": "integer", "minimum": 1}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["text"],
        "properties": {
            "id": text | {"maxLength": 200},
            "text": text | {"description": "The post as written."},
            "caption": text | {"description": "Caption of its picture."},
            "tags": text | {"description": "Objects in its picture, parted by commas; or one field for each."},
            "image": {"type": "string", "format": "binary", "description": "The picture's file."},
            "convention": text,
            "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
            "steps": number,
            "spans": number,
        },
    }
