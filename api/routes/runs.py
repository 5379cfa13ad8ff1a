"""Runs that are put in by programs and people, beside those that agents tell."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.database import Database
from api.exact_json import reply
from api.runs import answers
from api.runs.answers import RunDetail, RunItems, SavedRuns
from api.said import Said
from api.site_store import OwnSite

router = APIRouter(prefix="/v1/sites/{site}", tags=["runs"])


@router.put("/runs", response_model=SavedRuns)
async def put_runs(site: OwnSite, body: RunItems, connection: Database) -> Response:
    """Put runs in or correct them, all or none. What is known already, just as it is, stays as it is."""
    return reply(await answers.put_runs(connection, site, body))


@router.get("/runs/{line}/{run:path}", response_model=RunDetail)
async def run(line: str, run: str, site: OwnSite, connection: Database) -> Response:
    """A run and all that was ever said of it, also when it was removed."""
    return reply(await answers.find_run(connection, site, (line, run)))


@router.delete("/runs/{line}/{run:path}", response_model=RunDetail)
async def remove_run(
    line: str, run: str, site: OwnSite, said: Annotated[Said, Query()], connection: Database
) -> Response:
    """Remove a run that never was. What agents said of it before stays out, however late it comes."""
    return reply(await answers.remove_run(connection, site, (line, run), said))
