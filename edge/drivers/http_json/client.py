"""Fetches one document over HTTP, within bounds of time and size."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from edge.errors import EdgeTransientError

if TYPE_CHECKING:
    from httpx import AsyncClient, Response

_REFUSALS = {
    400: "it does not understand the question; check `url` and the mapping against the device's type",
    401: "it asks for a user and a password, or does not accept those given; check `user`, `password` and `login`",
    403: "it does not let us; check user, password and the device's own settings",
    404: "it has no such page; check `url` and the mapping against the device's type",
    405: "it does not answer GET there; check `url`",
    429: "it is asked too often; raise `every`",
}


class Login(StrEnum):
    """How a device wants to be told user and password."""

    BASIC = "basic"
    DIGEST = "digest"


class DeviceAwayError(EdgeTransientError):
    """No connection, no answer in time, or not the answer that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask, how long to wait for the whole answer, and how large it may be."""

    url: str
    headers: Mapping[str, str]
    user: str | None
    password: str | None
    login: Login
    context: ssl.SSLContext | None
    timeout_s: float
    largest_bytes: int


class HttpClient:
    """Keeps its connection from one answer to the next, for a device that does."""

    def __init__(self, question: Question) -> None:
        from httpx import AsyncClient, BasicAuth, DigestAuth, Limits  # noqa: PLC0415 - only who asks over HTTP pays

        auth: Any = None
        if question.user is not None:
            kind = BasicAuth if question.login is Login.BASIC else DigestAuth
            auth = kind(question.user, question.password or "")
        self._question = question
        self._client: AsyncClient = AsyncClient(
            # Compressed, a small answer may become an endless one.
            headers={"Accept": "application/json", **question.headers, "Accept-Encoding": "identity"},
            auth=auth,
            verify=question.context if question.context is not None else False,
            follow_redirects=False,
            timeout=question.timeout_s,
            limits=Limits(max_connections=1, max_keepalive_connections=1),
            trust_env=False,
        )

    async def fetch(self) -> bytes:
        """The body of the answer. Raises DeviceAwayError in words for a technician."""
        from httpx import ConnectError, HTTPError, InvalidURL, TimeoutException  # noqa: PLC0415

        question = self._question
        try:
            async with (
                asyncio.timeout(question.timeout_s),
                self._client.stream("GET", question.url) as response,
            ):
                return await self._body(response)
        except (TimeoutError, TimeoutException):
            raise DeviceAwayError(f"no whole answer within {question.timeout_s:g} s") from None
        except ConnectError as error:
            raise DeviceAwayError(f"no connection ({error}); check address, cable, power and certificate") from error
        except (HTTPError, InvalidURL, OSError) as error:
            raise DeviceAwayError(f"the answer broke off or is not HTTP ({error})") from error

    async def close(self) -> None:
        """Let the connection go. Safe twice."""
        await self._client.aclose()

    async def _body(self, response: Response) -> bytes:
        """Raises DeviceAwayError for any answer but a whole one of status 200."""
        if response.is_redirect:
            where = response.headers.get("location", "somewhere else")
            raise DeviceAwayError(f"it sends us on to {where[:200]}; if that is right, give it as `url`")
        if response.status_code != 200:
            what = "it reports a failure of its own" if response.status_code >= 500 else "that is not what was asked"
            words = _REFUSALS.get(response.status_code, what)
            raise DeviceAwayError(f"status {response.status_code}: {words}")
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > self._question.largest_bytes:
                raise DeviceAwayError(f"the answer has more than {self._question.largest_bytes} bytes; check `url`")
        return bytes(body)
