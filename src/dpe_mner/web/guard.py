"""What every request passes: the token, the limits of its body, the headers of its answer, the counters."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Collection, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpe_mner.web.limits import Limits
from dpe_mner.web.metrics import Metrics
from dpe_mner.web.refusals import Refused

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_THROWN_AWAY = 4  # times the limit of a body: a client that sends too much reads no answer before it has sent it
_PATIENCE = 5.0  # seconds to throw away in


class Guard:
    """Middleware around the whole application.

    Args:
        app: The application.
        limits: Of bodies.
        metrics: Told of every request.
        paths: That the counters know by name; any other is ``other``.
        open_paths: That need no token: the page, its files and the health check.
        token: That all others need as ``Authorization: Bearer ...``; None for nothing.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        metrics: Metrics,
        paths: Collection[str],
        open_paths: Collection[str],
        token: str | None = None,
    ) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.paths, self.open_paths = frozenset(paths), frozenset(open_paths)
        self._token = None if token is None else token.encode()
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499  # 499: the client went away, nothing was sent
        path = scope["path"] if scope["path"] in self.paths else "other"
        body = _Body(self, receive)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _dress(message, keep=not body.failed, private=scope["path"].startswith(("/v1", "/page/answer")))
            await send(message)

        try:
            self._check_token(scope)
            await body.check_length(Headers(scope=scope))
            await self.app(scope, body.receive, answer)
        except Refused as refused:  # before the application saw the request; what it raises it answers itself
            self.metrics.refused.labels(refused.code).inc()
            await refused.response()(scope, receive, answer)
        finally:
            self._hold(-body.size)
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)

    def _check_token(self, scope: Scope) -> None:
        if self._token is None or scope["path"] in self.open_paths:
            return
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            message = "this service needs a token: send it as 'Authorization: Bearer TOKEN'"
            raise Refused(401, "token", message, headers={"WWW-Authenticate": "Bearer"})

    def _hold(self, size: int) -> None:
        self._held += size
        self.metrics.held.set(self._held)

    def hold(self, size: int) -> None:
        """Count bytes that came.

        Raises:
            Refused: If all requests together hold too much.
        """
        if self._held + size > self.limits.held_bytes:
            message = "too many bodies are being received; try again in a moment"
            raise Refused(429, "busy", message, headers={"Retry-After": "1", "Connection": "close"})
        self._hold(size)


class _Body:
    """The body of one request, as far as it came."""

    def __init__(self, guard: Guard, receive: Receive) -> None:
        self.guard, self._receive = guard, receive
        self.size = 0
        self.failed = False
        self._whole = False
        self._until = time.monotonic() + guard.limits.body_seconds

    async def check_length(self, headers: Headers) -> None:
        """Refuse a body that says it is too large before it is read.

        Raises:
            Refused: With the limit.
        """
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.guard.limits.body_bytes:
            if headers.get("expect", "").lower() != "100-continue":
                await self._throw_away(0)
            raise self._too_large()

    async def receive(self) -> Message:
        """The next part of the body; once it is whole, whether the client is still there.

        Raises:
            Refused: If the body grows too large or takes too long.
        """
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(self._until - time.monotonic(), 0.001))
        except TimeoutError:
            self.failed = True
            seconds = self.guard.limits.body_seconds
            raise Refused(408, "slow", f"the body did not come within {seconds:g} seconds") from None
        if message["type"] == "http.request":
            await self._count(message)
        return message

    async def _count(self, message: MutableMapping[str, Any]) -> None:
        size = len(message.get("body", b""))
        if self.size + size > self.guard.limits.body_bytes:
            await self._throw_away(self.size + size)
            raise self._too_large()
        try:
            self.guard.hold(size)
        except Refused:
            self.failed = True
            raise
        self.size += size
        self._whole = not message.get("more_body", False)

    async def _throw_away(self, seen: int) -> None:
        """Read on, within bounds, so that a client that does not listen while it sends gets the answer."""
        self.failed = True
        most = _THROWN_AWAY * self.guard.limits.body_bytes
        try:
            async with asyncio.timeout(_PATIENCE):
                while seen <= most:
                    message = await self._receive()
                    seen += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _too_large(self) -> Refused:
        self.failed = True
        most = self.guard.limits.body_bytes / 2**20
        return Refused(413, "too_large", f"the body is larger than {most:g} MiB; send less")


def _dress(message: Message, *, keep: bool, private: bool) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if private:
        headers["Cache-Control"] = "no-store"
    if not keep:  # the rest of the body would be read as the next request
        headers["Connection"] = "close"
