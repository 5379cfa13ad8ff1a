"""For whoever watches over the process: does it live, is it ready, what has it done. No token needed."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

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
    """The database can be reached and has the schema that this version expects; otherwise 503 and what is wrong."""
    try:
        row = await fetch_one(connection, NEWEST_APPLIED)
    except UndefinedTable:
        row = None
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
    """Counters and durations for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
