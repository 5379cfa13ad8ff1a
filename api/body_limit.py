"""No body larger than MOST_BYTES is read: one that says so is refused at once, another where it passes the limit.

Who has no token may send less.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import is_open

MOST_BYTES = 5_000_000
MOST_UNKNOWN_BYTES = 64_000
"""From whoever has no token."""


class BodyLimit:
    """ASGI middleware. It stands behind the gate, so that without a token one learns of it at open addresses only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MOST_UNKNOWN_BYTES if is_open(scope["path"]) else MOST_BYTES
        said = Headers(scope=scope).get("content-length", "")
        read = 0

        async def count() -> Message:
            nonlocal read
            if said.isdecimal() and int(said) > most:
                raise _too_large(most)
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _too_large(most)
            return message

        await self._app(scope, count, send)


def _too_large(most: int) -> HTTPException:
    return HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {most:,} bytes at most; send it in parts"
    )
