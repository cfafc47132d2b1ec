"""One request to an OpenAI-compatible endpoint, and what it means when it fails."""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from dpe_mner.errors import InputError
from dpe_mner.llm.request import Answer, Request, Usage

if TYPE_CHECKING:
    import openai

_PUBLIC = "https://api.openai.com/v1"
_LATER = frozenset({408, 409, 425, 429})  # statuses besides 5xx that say "again", not "no"
_STOPPING = frozenset({401, 402, 403, 404, 405})  # statuses that every other request would meet too
_MOST_SHOWN = 200  # characters of an endpoint's message


class BusyError(Exception):
    """No answer this time; another try may bring one.

    Args:
        message: Why.
        wait: Seconds the endpoint asks to wait; 0 if it does not say.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class RefusedError(Exception):
    """The endpoint does not want this request; it may want others."""


class StoppingError(Exception):
    """No request will be answered until the user changes something."""


class Endpoint:
    """Sends requests.

    Args:
        base_url: With ``/v1`` or what the endpoint has instead; OPENAI_BASE_URL or OpenAI's own when not given.
        key_name: Environment variable that holds the key.
        timeout: Seconds for a whole answer.

    Raises:
        InputError: If the package is not installed, the address is none, or there is no key.
    """

    def __init__(self, *, base_url: str | None, key_name: str, timeout: float) -> None:
        address = base_url or os.environ.get("OPENAI_BASE_URL") or _PUBLIC
        self.url = _checked(address)
        self.timeout = timeout
        self._key = os.environ.get(key_name, "").strip()
        self._reached = False  # whether anything ever came back
        if not self._key:
            if not is_local(self.url):
                raise InputError(
                    f"{self.name}: needs a key, and the environment variable {key_name} is not set; "
                    "set it, or name another one with --api-key-env"
                )
            self._key = "none"  # the package wants one
        _package()
        self._client: openai.AsyncOpenAI | None = None

    @property
    def name(self) -> str:
        """The address without a user's name and password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    async def __aenter__(self) -> Endpoint:
        self._client = _package().AsyncOpenAI(base_url=self.url, api_key=self._key, timeout=self.timeout, max_retries=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ask(self, request: Request) -> Answer:
        """Send one request.

        Raises:
            BusyError: After a time out, a broken connection, 429, 5xx, or an answer that is damaged.
            RefusedError: After another status of 4xx.
            StoppingError: Without a connection from the beginning, and after a status that others would meet too.
        """
        assert self._client is not None
        package = _package()
        body = request.body
        more = {name: body.pop(name) for name in request.more if name in body}
        try:
            async with asyncio.timeout(self.timeout):  # the package's own is for each part of an answer alone
                completion: Any = await self._client.chat.completions.create(**body, extra_body=more or None)
        except (package.APITimeoutError, TimeoutError):
            raise BusyError(f"no answer within {self.timeout:g} s") from None
        except package.APIConnectionError as error:
            reason = self._told(error.__cause__ or error)
            if not self._reached and _never_connected(error):
                raise StoppingError(
                    f"{self.name}: cannot be reached ({reason}); is the address right and the server running?"
                ) from None
            raise BusyError(f"the connection broke ({reason})") from None
        except package.APIStatusError as error:
            self._reached = True
            raise self._failure(error) from None
        except package.APIError as error:
            raise BusyError(f"the answer is damaged ({self._told(error)})") from None
        except ValueError as error:  # JSON that is none
            self._reached = True
            raise BusyError(f"the answer is damaged ({self._told(error)})") from None
        self._reached = True
        return _answer(completion, request)

    def _failure(self, error: openai.APIStatusError) -> Exception:
        status, message = error.status_code, self._told(error)
        if error.code == "insufficient_quota":
            return StoppingError(f"{self.name}: {message}")
        if status in _LATER or status >= 500:
            return BusyError(message, asked_wait(error.response.headers))
        if status == 401:
            return StoppingError(f"{self.name}: does not take the key ({message})")
        if status in (404, 405):
            return StoppingError(f"{self.name}: {message}; are --model and --base-url right? It often ends in /v1")
        if status in _STOPPING:
            return StoppingError(f"{self.name}: {message}")
        return RefusedError(message)

    def _told(self, error: BaseException) -> str:
        """An error in one line of bounded length, without the key."""
        line = " ".join(str(error).split()) or type(error).__name__
        line = line.replace(self._key, "***") if self._key != "none" else line
        return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}..."


def is_local(url: str) -> bool:
    """Whether an address is this machine or one of its own network, where a server often asks for no key."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".localhost", ".local")):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that ``Retry-After`` asks for, given as a number or a date; 0 if it is missing or makes no sense."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return 0.0
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (ValueError, KeyError):
        return 0.0


def _answer(completion: Any, request: Request) -> Answer:
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise BusyError("the answer is no chat completion; is --base-url right?")
    choice, used = choices[0], getattr(completion, "usage", None)
    content = getattr(getattr(choice, "message", None), "content", None)
    usage = None
    if used is not None:
        usage = Usage(tokens_in=_count(used, "prompt_tokens"), tokens_out=_count(used, "completion_tokens"))
    return Answer(
        content=content if isinstance(content, str) else "",
        finish_reason=str(getattr(choice, "finish_reason", None) or ""),
        usage=usage,
        model=str(getattr(completion, "model", None) or request.model),
    )


def _count(used: object, name: str) -> int:
    value = getattr(used, name, None)
    return value if isinstance(value, int) and value > 0 else 0


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise InputError(f"--base-url {address!r}: no address of an endpoint; e.g. http://localhost:8000/v1")
    return address


def _never_connected(error: BaseException) -> bool:
    """Whether no connection came about: refused, no such host, no route."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in ("ConnectError", "UnsupportedProtocol"):  # of httpx under whatever name
            return True
        cause = cause.__cause__
    return False


def _package() -> Any:
    try:
        import openai
    except ImportError:
        raise InputError("asking a language model needs the openai package; pip install 'dpe-mner[llm]'") from None
    return openai
