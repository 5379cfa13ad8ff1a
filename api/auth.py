"""Who asks: programs sign in with a bearer token, of which only a digest is kept.

`Gate` stands before all routes and lets nothing through without a token but the few open addresses, so that a new
route is closed by default.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, LiteralString

import psycopg
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.database import Pool, fetch_one
from api.problems import ProblemError

OPEN_ADDRESSES = frozenset({"/", "/health", "/ready", "/metrics", "/openapi.json"})
PROOF_ADDRESSES = frozenset({"/v1/enrolments", "/v1/renewals"})
"""A proof stands for the token there: an agent has none."""
OPEN_FOLDER = "/web/"
"""The page's own script and style: they are the same for everybody and show nothing by themselves."""

# One trip: who it is, and at most once a minute that it was here.
_FIND: LiteralString = """
WITH found AS (
    SELECT token.id, organisation.id AS organisation_id, organisation.key AS organisation, scopes,
           token.name AS token, expires_at <= now() AS expired
    FROM token JOIN organisation ON organisation.id = token.organisation_id
    WHERE digest = %s
), touched AS (
    UPDATE token SET last_used_at = now() FROM found
    WHERE token.id = found.id AND NOT found.expired
      AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
)
SELECT * FROM found
"""


class TokenScope(StrEnum):
    """What a token allows: looking, or changing."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The program behind a token, by the token's name. It sees its own organisation and no other."""

    organisation_id: int
    organisation: str
    token: str


def new_token() -> str:
    """A token that nobody guesses."""
    return f"afk_{secrets.token_urlsafe(32)}"


def digest(token: str) -> bytes:
    """What is kept of a token. It is random and long, so a plain hash suffices."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


class Gate:
    """ASGI middleware: finds the caller, checks the scope that the method needs, or answers 401, 403 or 503."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            caller = await _find_caller(scope)
        except ProblemError as error:
            await problems.answer_with(error.problem, error.headers)(scope, receive, send)
        except psycopg.Error as error:
            await problems.of_database(error)(scope, receive, send)
        else:
            scope.setdefault("state", {})["caller"] = caller
            await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether nobody needs a token there."""
    return path in OPEN_ADDRESSES or path in PROOF_ADDRESSES or path.startswith(OPEN_FOLDER)


async def _find_caller(scope: Scope) -> Caller:
    kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise _unauthorised("send a token: Authorization: Bearer … (`afkobling token create` makes one)", error="")
    pool: Pool = scope["app"].state.pool
    async with pool.connection() as connection:
        row = await fetch_one(connection, _FIND, [digest(token.strip())])
    if row is None:
        raise _unauthorised("the token is not known; check that it was copied whole", error="invalid_token")
    if row["expired"]:
        raise _unauthorised(
            "the token has expired; make a new one with `afkobling token create`", error="invalid_token"
        )
    needed = TokenScope.READ if scope["method"] in {"GET", "HEAD", "OPTIONS"} else TokenScope.WRITE
    if needed not in row["scopes"]:
        raise ProblemError(
            HTTPStatus.FORBIDDEN, "forbidden", f"the token lacks the scope {needed}; make one that has it"
        )
    return Caller(organisation_id=row["organisation_id"], organisation=row["organisation"], token=row["token"])


def _unauthorised(detail: str, *, error: str) -> ProblemError:
    challenge = 'Bearer realm="afkobling"' + (f', error="{error}"' if error else "")
    return ProblemError(HTTPStatus.UNAUTHORIZED, "unauthorised", detail, headers={"WWW-Authenticate": challenge})


_scheme = HTTPBearer(auto_error=False, description="`afkobling token create` makes a token")


async def _caller(request: Request, _: Annotated[object, Depends(_scheme)]) -> Caller:
    caller: Caller = request.state.caller
    return caller


SignedIn = Annotated[Caller, Depends(_caller)]
"""A route's parameter of this kind is whoever asks."""
