"""CO2e factors of the organisation: versions with source and validity, never edits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from api.auth import SignedIn
from api.cursor import CursorText, Limit, Page, decode_cursor
from api.database import Database
from api.exact_json import reply
from api.factors import answers as factor_answers
from api.factors.answers import (
    FactorAnswer,
    FactorHistory,
    FactorHours,
    GivenFactors,
    ImportedFactors,
    SavedFactors,
)
from api.factors.files import FactorFileError
from api.factors.grid_files import AREAS, LICENCE, GridChoice
from api.problems import bad_value
from api.said import Said, unix_ms
from api.tables.formats import TableRoute
from schemas.configuration import problems_in
from schemas.topics import KEY_PATTERN

router = APIRouter(prefix="/v1/factors", tags=["CO2e factors"], route_class=TableRoute)

FactorKey = Annotated[str, Path(pattern=KEY_PATTERN)]
Text = Annotated[str, Query(max_length=200)]


@router.get("", response_model=Page[FactorAnswer])
async def factors(
    caller: SignedIn,
    connection: Database,
    carrier: Text | None = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """The newest version of each factor, by key; those that are withdrawn too, which say so."""
    (after,) = decode_cursor(cursor, str) if cursor else [""]
    return reply(
        await factor_answers.factor_page(connection, caller.organisation_id, carrier=carrier, after=after, limit=limit)
    )


@router.put("", response_model=SavedFactors)
async def put_factors(caller: SignedIn, body: GivenFactors, connection: Database) -> Response:
    """Add factors, or the next version of those whose keys are known; all or none."""
    return reply(await factor_answers.save(connection, caller.organisation_id, body))


@router.post(
    "/import",
    response_model=ImportedFactors,
    openapi_extra={"requestBody": {"required": True, "content": {"text/csv": {}, "application/json": {}}}},
)
async def import_factors(
    *,
    request: Request,
    caller: SignedIn,
    connection: Database,
    author: Text,
    reason: Text,
    name: Annotated[str, Query(max_length=100, description="what the file is called, for messages")] = "file",
    area: Annotated[
        list[str] | None, Query(description="of a file of the grid: take these (default: DK1, DK2)")
    ] = None,
    method: Annotated[str | None, Query(max_length=50, description="FuelAllocationMethod (default: 125%)")] = None,
    licence: Annotated[str, Query(min_length=1, max_length=200)] = LICENCE,
) -> Response:
    """Store what a file holds, given as the body: a table of factors, or hourly values of the Danish grid."""
    try:
        said = Said(author=author, reason=reason)
    except ValidationError as error:
        fault = problems_in(error)[0]
        raise bad_value(f"query.{fault.location[0]}", fault.message) from error
    choice = GridChoice(now=unix_ms(datetime.now(UTC)), areas=tuple(area or AREAS), method=method, licence=licence)
    data = await request.body()
    try:
        imported = await factor_answers.import_file(
            connection, caller.organisation_id, data, name=name, choice=choice, said=said
        )
    except FactorFileError as error:
        raise factor_answers.file_problem(error) from error
    return reply(imported)


@router.get("/{key}", response_model=FactorHistory)
async def factor(key: FactorKey, caller: SignedIn, connection: Database) -> Response:
    """One factor, with all its versions."""
    return reply(await factor_answers.find(connection, caller.organisation_id, key))


@router.get("/{key}/hours", response_model=FactorHours)
async def factor_hours(
    key: FactorKey,
    caller: SignedIn,
    connection: Database,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="default: the newest")] = None,
) -> Response:
    """The hours of a factor that is by hour; none of a constant one."""
    return reply(await factor_answers.find_hours(connection, caller.organisation_id, key, version))


@router.post("/{key}/withdraw", response_model=FactorHistory)
async def withdraw_factor(key: FactorKey, body: Said, caller: SignedIn, connection: Database) -> Response:
    """Take a factor back. It stays for the figures that used it, with who took it back and why."""
    return reply(await factor_answers.withdraw(connection, caller.organisation_id, key, body))
