"""A server in this process that speaks the protocol of language-model endpoints, and fails as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


def answer(content: object, *, finish: str = "stop", usage: object = USAGE) -> dict[str, Any]:
    """A chat completion; what is no text is written as JSON."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "tiny-0001", "choices": [choice]}
    return whole if usage is None else whole | {"usage": usage}


def listing(*entities: tuple[str, str]) -> dict[str, Any]:
    """A good answer."""
    return answer({"entities": [{"text": text, "label": label} for text, label in entities]})


def status(code: int, message: str = "no", **headers: str) -> Callable[[Handler], None]:
    """An error as endpoints tell them; ``insufficient_quota`` as message is its code too."""

    def send(handler: Handler) -> None:
        error = {"message": message, "code": message if message == "insufficient_quota" else None}
        handler.reply(code, {"error": error}, {name.replace("_", "-"): value for name, value in headers.items()})

    return send


def late(seconds: float) -> Callable[[Handler], None]:
    """No answer for a while."""

    def send(handler: Handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return send


def cut(handler: Handler) -> None:
    """Half of an answer, then nothing."""
    whole = json.dumps(listing(("Paris", "LOC"))).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(whole)))
    handler.end_headers()
    handler.wfile.write(whole[: len(whole) // 2])
    handler.wfile.flush()
    handler.close_connection = True


def dripping(seconds: float) -> Callable[[Handler], None]:
    """An answer that comes a byte at a time, each soon after the one before, for a while."""

    def send(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            time.sleep(0.05)
        handler.close_connection = True

    return send


def damaged(handler: Handler) -> None:
    """All of an answer that is no JSON."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{'")


class Handler(BaseHTTPRequestHandler):
    """Hands a request to the server's script."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.left = False
        with self.server.lock:
            self.server.requests.append(body)
            self.server.times.append(time.monotonic())
            self.server.headers.append({name.lower(): told for name, told in self.headers.items()})
            self.server.paths.append(self.path)
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            step = self.server.script.pop(0) if self.server.script else self.server.usual
        try:
            if callable(step) and step is self.server.usual:
                step = step(text_of(body))
            step(self) if callable(step) else self.reply(200, step)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.leave()

    def leave(self) -> None:
        """The request is done with, as soon as the client may ask again."""
        with self.server.lock:
            self.server.under_way -= not self.left
            self.left = True

    def reply(self, code: int, value: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.leave()
        self.send_response(code)
        for name, told in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, told)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


class Server(ThreadingHTTPServer):
    """What came in, and what is to go out.

    ``script`` holds what the next requests get: a value for 200, or a function of the handler. After it ``usual`` is
    asked with the text of the post.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.under_way = self.most = 0
        self.script: list[Any] = []
        self.usual: Callable[[str], Any] = lambda text: listing()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


def text_of(body: dict[str, Any]) -> str:
    """The text of the post that a request asks about."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return text.removeprefix("Post: ").partition("\nPicture: ")[0]


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
