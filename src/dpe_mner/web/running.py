"""The service on a socket: bound before the model is loaded, stopped when it has answered what it accepted."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dpe_mner.errors import InputError
from dpe_mner.web.limits import Limits

_BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A socket of the place, so that a taken port is told before anything slow is done.

    Args:
        host: Name or address.
        port: 0 for any that is free.

    Raises:
        InputError: If it cannot be had.
    """
    if not 0 <= port < 2**16:  # looked up, it would silently be another one
        raise InputError(f"--port {port}: a port is a number from 1 to 65535, or 0 for any that is free")
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, number)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"--host {host} --port {port}: cannot be had ({reason}); give another, e.g. --port 0"
        ) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    return host in ("::1", "localhost") or host.startswith("127.")


def serve(app: FastAPI, bound: socket.socket, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM, and answer what was accepted until then.

    Args:
        app: From :func:`~dpe_mner.web.application.create_app`.
        bound: From :func:`bind`.
        limits: For the time that clients are given.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a broken form is told to who sent it
    uvicorn.Server(configured(app, limits)).run(sockets=[bound])


def configured(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """The server's settings: no access log (posts are nobody's business), no web sockets, no words about itself."""
    return uvicorn.Config(
        app,
        http=punctual(limits.header_seconds),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(round(limits.stop_seconds), 1),
    )


def punctual(seconds: float) -> type[asyncio.Protocol]:
    """The protocol, closing a connection whose next request has no head after so many seconds."""

    class Punctual(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, self._close_idle)

        def data_received(self, data: bytes) -> None:
            if self._late is None and self._idle():
                self._late = self.loop.call_later(seconds, self._close_idle)
            super().data_received(data)
            if self._late is not None and not self._idle():
                self._late.cancel()
                self._late = None

        def connection_lost(self, exc: Exception | None) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None
            super().connection_lost(exc)

        def _idle(self) -> bool:
            """Whether no request is being served."""
            return self.cycle is None or self.cycle.response_complete

        def _close_idle(self) -> None:
            self._late = None
            if self._idle():
                self.transport.close()

    return Punctual
