"""A stand-in of the hub's HTTP interface on this machine: repositories in memory, with branches and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class Hub:
    """What the hub holds and was asked."""

    url: str = ""
    token: str = "hf_secret"
    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def files(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a branch or a commit."""
        known = self.commits.get(repository, [])
        if revision == "main":
            return known[-1] if known else None
        return next((each for each in known if each[0] == revision), None)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, content in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, content)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._answer({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})

    def _may(self, repository: str) -> bool:
        return not self.hub.private.get(repository) or self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.hub.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._refuse(401, "Unauthorized")
        elif path == "/api/repos/create":
            given = json.loads(body)
            name = given["name"] if not given.get("organization") else f"{given['organization']}/{given['name']}"
            known = name in self.hub.commits
            self.hub.commits.setdefault(name, [])
            if not known:
                self.hub.private[name] = bool(given.get("private")) or given.get("visibility") == "private"
            self._answer({"url": f"{self.hub.url}/{name}", "name": name, "id": name}, 409 if known else 200)
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            told = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for f in files]
            self._answer({"files": told})
        elif "/commit/" in path:
            self._commit(path.split("/api/models/")[1].split("/commit/")[0], body)
        else:
            self._refuse(404, "EntryNotFound")

    def _commit(self, repository: str, body: bytes) -> None:
        known = self.hub.commits[repository]
        files = dict(known[-1][1]) if known else {}
        for line in body.splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
        oid = hashlib.sha1(body).hexdigest()
        known.append((oid, files))
        url = f"{self.hub.url}/{repository}/commit/{oid}"
        self._answer({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if "/resolve/" in path:
            repository, rest = path.lstrip("/").split("/resolve/")
            revision, _, name = rest.partition("/")
        elif path.startswith("/api/models/") and ("/revision/" in path or "/tree/" in path):
            middle = "/revision/" if "/revision/" in path else "/tree/"
            repository, revision = path.removeprefix("/api/models/").split(middle)
            name = None
        else:
            repository, revision, name = path.removeprefix("/api/models/"), "main", None
        found = self.hub.files(repository, revision) if self._may(repository) else None
        if repository not in self.hub.commits or not self._may(repository):
            self._refuse(401 if repository in self.hub.commits else 404, "RepoNotFound")
        elif found is None:
            self._refuse(404, "RevisionNotFound")
        elif name is None and "/tree/" in path:
            rows = [
                {"type": "file", "path": each, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for each, content in found[1].items()
            ]
            self._answer(rows)
        elif name is None:
            siblings = [{"rfilename": each} for each in found[1]]
            self._answer({"id": repository, "modelId": repository, "sha": found[0], "siblings": siblings, "tags": []})
        elif name not in found[1]:
            self._refuse(404, "EntryNotFound")
        else:
            etag = hashlib.sha1(found[1][name]).hexdigest()
            self._answer(found[1][name], headers={"ETag": f'"{etag}"', "X-Repo-Commit": found[0]})


@contextmanager
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that huggingface_hub talks to instead of the real one."""
    import huggingface_hub.constants as constants

    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
