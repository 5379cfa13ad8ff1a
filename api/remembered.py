"""Answers that are asked for again are given again, for as long as nothing that they rest on has changed.

Before each answer one small statement reads what the site's figures rest on, as numbers that go up with every change in
the transaction that makes it. An answer is remembered under the numbers that were read before it was computed: it may
be newer than they say, never older.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, LiteralString

import psycopg
from cachetools import LRUCache
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.auth import Caller
from api.database import Pool, fetch_one
from api.tables.formats import Format, choose

_ADDRESS = re.compile(
    r"/v1/sites/(?P<site>[a-z0-9][a-z0-9._-]{0,62})"
    r"/(attribution|circularity|decomposition|decoupling|intensity|intensity/best|intensity/regression)"
)
# A run without an end goes on until now, and today is another day tomorrow: so time counts, by the quarter of an hour.
_BASIS: LiteralString = """
SELECT site.id AS site, model_version.version AS model, due.newest, due.rows,
       (SELECT number FROM site_revision WHERE site_id = site.id) AS kept,
       (SELECT number FROM organisation_revision AS o WHERE o.organisation_id = site.organisation_id) AS said,
       (extract(epoch FROM now()) / 900)::int8 AS quarter
FROM site CROSS JOIN model_version CROSS JOIN LATERAL (
    SELECT max(id) AS newest, count(*) AS rows FROM attribution_due WHERE site_id = site.id
) AS due
WHERE site.organisation_id = %s AND site.key = %s
"""
_LEAST_PACKED = 1_000
_AROUND = 1_000
"""Bytes that an answer takes beside its body, about."""

Basis = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """What tells answers apart. An organisation's are its own, whatever its sites are called."""

    organisation_id: int
    site: str
    path: str
    query: bytes
    format: Format | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer. `packed` is its body in gzip, where that is worth while."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    route: object
    basis: Basis
    tag: str = field(init=False)
    packed: bytes | None = None

    def __post_init__(self) -> None:
        kind = Headers(raw=list(self.headers)).get("content-type", "")
        object.__setattr__(self, "tag", f'W/"{hashlib.sha256(kind.encode() + self.body).hexdigest()[:32]}"')

    @property
    def size(self) -> int:
        return len(self.body) + len(self.packed or b"") + _AROUND


class Remembered:
    """ASGI middleware behind the gate. `most_bytes` bounds what is remembered; 0: nothing is.

    Requests for the same thing at the same time wait for one computation. Answers other than 200 are not remembered.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self._app = app
        self._told: LRUCache[Key, Told] = LRUCache(most_bytes, getsizeof=lambda told: told.size)
        self._under_way: dict[tuple[Key, Basis], asyncio.Future[Told | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope) if self._told.maxsize else None
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            basis = await _read_basis(scope["app"].state.pool, key)
        except psycopg.Error as error:
            await problems.of_database(error)(scope, receive, send)
            return
        told = self._told.get(key)
        if basis is None:
            await self._app(scope, receive, send)
        elif told is not None and told.basis == basis:
            await _send(told, scope, send)
        else:
            await self._compute_once(key, basis, scope, receive, send)

    async def _compute_once(self, key: Key, basis: Basis, scope: Scope, receive: Receive, send: Send) -> None:
        under_way = self._under_way.get((key, basis))
        if under_way is not None:
            told = await asyncio.shield(under_way)
            if told is None:
                await self._app(scope, receive, send)
            else:
                await _send(told, scope, send)
            return
        under_way = self._under_way[key, basis] = asyncio.get_running_loop().create_future()
        told = None
        try:
            told = await self._compute(basis, scope, receive)
        finally:
            # Where it came to nothing, whoever waits asks for himself.
            del self._under_way[key, basis]
            under_way.set_result(told)
        self._remember(key, told)
        await _send(told, scope, send)
        if told.status == HTTPStatus.OK and len(told.body) > _LEAST_PACKED:
            # Whoever asks next has less to wait for; who asked now has the answer already.
            packed = await run_in_threadpool(gzip.compress, told.body, 6, mtime=0)
            if len(packed) < len(told.body) and self._told.get(key) is told:
                self._remember(key, replace(told, packed=packed))

    async def _compute(self, basis: Basis, scope: Scope, receive: Receive) -> Told:
        started: Message = {}
        chunks: list[bytes] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                chunks.append(message.get("body", b""))

        await self._app(scope, receive, keep)
        return Told(
            status=started["status"],
            headers=tuple((name, value) for name, value in started["headers"]),
            body=b"".join(chunks),
            route=scope.get("route"),
            basis=basis,
        )

    def _remember(self, key: Key, told: Told) -> None:
        if told.status == HTTPStatus.OK and told.size <= self._told.maxsize:
            self._told[key] = told


def _key(scope: Scope) -> Key | None:
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    address = _ADDRESS.fullmatch(scope["path"])
    caller: Caller | None = scope.get("state", {}).get("caller")
    if address is None or caller is None:
        return None
    wanted = choose(Headers(scope=scope).get("accept"))
    return Key(caller.organisation_id, address["site"], scope["path"], scope["query_string"], wanted)


async def _read_basis(pool: Pool, key: Key) -> Basis | None:
    """What the site's figures rest on now; None where the organisation has no such site."""
    async with pool.connection() as connection:
        row = await fetch_one(connection, _BASIS, [key.organisation_id, key.site])
    return None if row is None else tuple(row.values())


async def _send(told: Told, scope: Scope, send: Send) -> None:
    asked = Headers(scope=scope)
    # Counted under its route, as if it had been computed.
    scope["route"] = told.route
    headers = {name: value for name, value in told.headers if name.lower() not in {b"content-length", b"vary"}}
    body, status = told.body, told.status
    if status == HTTPStatus.OK:
        headers |= _pairs({"etag": told.tag, "vary": "Accept, Accept-Encoding", "cache-control": "private, no-cache"})
        if _is_known(told.tag, asked.get("if-none-match")):
            headers = {name: value for name, value in headers.items() if not name.lower().startswith(b"content-")}
            status, body = HTTPStatus.NOT_MODIFIED, b""
        elif told.packed is not None and _takes_gzip(asked.get("accept-encoding")):
            headers |= _pairs({"content-encoding": "gzip"})
            body = told.packed
    if status != HTTPStatus.NOT_MODIFIED:
        headers |= _pairs({"content-length": str(len(body))})
    await send({"type": "http.response.start", "status": int(status), "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": body})


def _pairs(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}


def _is_known(tag: str, none_match: str | None) -> bool:
    """Whether whoever asks has this very answer [RFC 9110 §13.1.2]."""
    if none_match is None:
        return False
    known = {one.removeprefix("W/") for one in _listed(none_match)}
    return not known.isdisjoint({"*", tag.removeprefix("W/")})


def _takes_gzip(accept_encoding: str | None) -> bool:
    """Whether gzip is named, and not with the weight 0 [RFC 9110 §12.5.3]."""
    for entry in _listed(accept_encoding or ""):
        name, _, weight = (part.strip() for part in entry.lower().partition(";"))
        if name in {"gzip", "*"}:
            return re.fullmatch(r"q=0(\.0*)?", weight) is None
    return False


def _listed(header: str) -> Iterable[str]:
    return (entry.strip() for entry in header.split(",") if entry.strip())
