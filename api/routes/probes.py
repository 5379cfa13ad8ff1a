"""For whoever watches over the process: does it live, is it ready, what has it done. No token needed."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal, LiteralString

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg.errors import UndefinedTable
from starlette.responses import Response

from api.database import Database, fetch_one
from api.exact_json import Answer, reply
from api.problems import ProblemError
from schemas.sql import NEWEST_APPLIED, migrations

router = APIRouter(tags=["probes"])

_EXPECTED = len(migrations())
_READ_ONLY: LiteralString = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS is_read_only
"""


class Health(Answer):
    status: Literal["ok"] = "ok"


class Readiness(Answer):
    status: Literal["ready"] = "ready"
    schema_migration: int


@router.get("/health", response_model=Health)
async def health() -> Response:
    """The process lives."""
    return reply(Health())


@router.get("/ready", response_model=Readiness)
async def ready(connection: Database) -> Response:
    """The database can be reached, takes changes and has this version's schema; otherwise 503 and what is wrong."""
    try:
        row = await fetch_one(connection, NEWEST_APPLIED)
        state = await fetch_one(connection, _READ_ONLY)
    except UndefinedTable:
        row = state = None
    if state is not None and state["is_read_only"]:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            "the database takes no writes (a standby?): figures are told, nothing can be changed; let "
            "AFKOBLING_DATABASE_URL name the primary",
        )
    number = row["number"] if row else 0
    if number != _EXPECTED:
        way = "run `afkobling db migrate`" if number < _EXPECTED else "install the newer version of afkobling"
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            f"the database is at migration {number}, this version expects {_EXPECTED}: {way}",
        )
    return reply(Readiness(schema_migration=number))


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters and durations for Prometheus, and how the whole is, as the database tells."""
    await request.app.state.condition.refresh(request.app.state.pool)
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
