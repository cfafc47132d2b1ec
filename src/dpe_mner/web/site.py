"""The page's files: read from the package when the service starts, and nothing else is ever read from the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.requests import Request

from dpe_mner.data.demo import demo_credits, demo_posts
from dpe_mner.data.words import words_of

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SHARED = ("base.css", "reasoning.css")  # of the page of reasoning, whose arcs and colours this one has too


def add_site(app: FastAPI) -> set[str]:
    """Serve the page.

    Returns:
        Its paths, which hold nothing that a token need guard.
    """
    files = site_files()
    for path in files:
        app.add_api_route(path, _serve, methods=["GET", "HEAD"], include_in_schema=False)
    app.state.site = files
    return set(files)


async def _serve(request: Request) -> Response:
    kind, content = request.app.state.site[request.url.path]
    return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})


def site_files() -> Mapping[str, tuple[str, bytes]]:
    """Content type and content of every path."""
    package = Path(str(resources.files("dpe_mner")))
    found: dict[str, tuple[str, bytes]] = {}
    for path in sorted((package / "web" / "page").iterdir()):
        kind = _KINDS.get(path.suffix)
        if kind is not None:
            found[f"/page/{path.name}"] = (f"{kind}; charset=utf-8", path.read_bytes())
    found["/"], found["/docs"] = found.pop("/page/index.html"), found.pop("/page/docs.html")
    for name in _SHARED:
        found[f"/page/{name}"] = ("text/css; charset=utf-8", (package / "pages" / "templates" / name).read_bytes())
    examples = []
    credits = demo_credits()
    for post in demo_posts():
        row = {
            "id": post.id,
            "text": words_of(post).text,
            "caption": post.caption or "",
            "tags": ", ".join(post.tags or ()),
        }
        if post.image is not None:
            row |= {"picture": f"page/{post.id}.jpg", "credit": credits.get(post.id, "")}
            found[f"/page/{post.id}.jpg"] = ("image/jpeg", Path(str(post.image)).read_bytes())
        examples.append(row)
    found["/page/examples.json"] = ("application/json", json.dumps(examples, ensure_ascii=False).encode())
    return found
