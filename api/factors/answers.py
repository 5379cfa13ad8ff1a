"""CO2e factors: what can be said of them, and how they are told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any

from psycopg.rows import DictRow
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api.cursor import Page, page_of
from api.database import Connection
from api.exact_json import Answer, Instant, Number
from api.factors import store as factor_store
from api.factors import versions as factor_versions
from api.factors.files import FactorFile, FactorFileError, read_factor_file
from api.factors.given import GivenFactor
from api.factors.grid_files import GridChoice
from api.factors.versions import Written
from api.problems import ProblemError, bad_value
from api.said import Said
from schemas.carriers import FactorBasis, Gas, Scope


class GivenFactors(Said):
    """Factors to store, all or none; one of a known key is its next version."""

    items: Annotated[list[GivenFactor], Field(min_length=1, max_length=10_000)]


class FactorVersion(Answer):
    """One version. `value` is kg CO2e per `unit`, null where it is by hour: `hours` says how many."""

    version: int
    is_withdrawn: bool
    carrier: str
    scope: Scope
    basis: FactorBasis | None
    area: str | None
    value: Number | None
    unit: str
    gas: Gas
    start: Annotated[date, Field(alias="from")]
    end: Annotated[date | None, Field(alias="to")]
    hours: int
    source: str
    licence: str
    remark: str | None
    author: str
    reason: str
    recorded_at: Instant


class FactorAnswer(FactorVersion):
    """The newest version of a factor."""

    key: str


class FactorHistory(FactorAnswer):
    """A factor with all its versions, oldest first."""

    versions: list[FactorVersion]


class FactorHour(Answer):
    hour: Instant
    kg_per_unit: float


class FactorHours(Answer):
    """The hours of one version, by time."""

    key: str
    version: int
    items: list[FactorHour]


class WrittenFactor(Answer):
    """`is_new` is false where the newest version said the same already."""

    key: str
    version: int
    is_new: bool


class SavedFactors(Answer):
    saved: int
    unchanged: int
    items: list[WrittenFactor]


class GridCounts(Answer):
    """What a file of the grid held. Incomplete hours are not taken, nor rows of other areas and methods."""

    hours: int
    hours_incomplete: int
    rows_of_other_areas: int
    rows_of_other_methods: int


class ImportedFactors(SavedFactors):
    """What came of a file; `grid` is null for a table of constant factors."""

    rows: int
    grid: GridCounts | None


async def save(connection: Connection, organisation_id: int, given: GivenFactors) -> SavedFactors:
    """Store constant factors. Raises a 409 or 422 problem."""
    keys = [factor.key for factor in given.items]
    doubled = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if doubled:
        raise bad_value("items", f"{doubled[0]} stands twice; give each factor its own key")
    return SavedFactors(**_saved(await factor_versions.put(connection, organisation_id, given.items, [], given)))


async def import_file(
    connection: Connection, organisation_id: int, data: bytes, *, name: str, choice: GridChoice, said: Said
) -> ImportedFactors:
    """Store what a file holds, all or none. Raises FactorFileError, or a 409 problem."""
    # A year of 5-minute values takes a second or two: other requests go on meanwhile.
    file = await run_in_threadpool(read_factor_file, data, name=name, choice=choice)
    return await store_file(connection, organisation_id, file, said)


async def store_file(connection: Connection, organisation_id: int, file: FactorFile, said: Said) -> ImportedFactors:
    """Store what was read from a file. Raises a 409 problem."""
    series = file.grid.series if file.grid else []
    written = await factor_versions.put(connection, organisation_id, file.factors, series, said)
    counts = None
    if file.grid:
        counts = GridCounts(**{name: getattr(file.grid, name) for name in GridCounts.model_fields})
    return ImportedFactors(**_saved(written), rows=file.rows, grid=counts)


def file_problem(error: FactorFileError) -> ProblemError:
    """The 422 problem for a file that can't be taken."""
    faults = [{"place": "body", "message": message} for message in error.problems]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-value", f"body: {error}", errors=faults)


async def withdraw(connection: Connection, organisation_id: int, key: str, said: Said) -> FactorHistory:
    """Take a factor back; figures that used it keep it. Raises a 404 or 409 problem."""
    await factor_versions.withdraw(connection, organisation_id, key, said)
    return await find(connection, organisation_id, key)


async def find(connection: Connection, organisation_id: int, key: str) -> FactorHistory:
    """A factor with its versions. Raises a 404 problem."""
    rows = await factor_store.versions(connection, organisation_id, key)
    return FactorHistory(
        **_values(rows[-1], FactorAnswer), versions=[FactorVersion(**_values(row, FactorVersion)) for row in rows]
    )


async def find_hours(connection: Connection, organisation_id: int, key: str, version: int | None) -> FactorHours:
    """The hours of a version (None: of the newest). Raises a 404 problem."""
    rows = await factor_store.versions(connection, organisation_id, key)
    chosen = rows[-1:] if version is None else [row for row in rows if row["version"] == version]
    if not chosen:
        raise factor_store.no_factor(f"{key} of version {version}")
    hours = await factor_store.hours(connection, chosen[0]["id"])
    return FactorHours(key=key, version=chosen[0]["version"], items=[FactorHour(**row) for row in hours])


async def factor_page(
    connection: Connection, organisation_id: int, *, carrier: str | None, after: str, limit: int
) -> Page[FactorAnswer]:
    """Newest versions by key, beginning after one; withdrawn ones too, which say so."""
    rows = await factor_store.page(connection, organisation_id, carrier=carrier, after=after, limit=limit + 1)
    page = page_of(rows, limit, lambda row: (row["key"],))
    return Page(items=[FactorAnswer(**_values(row, FactorAnswer)) for row in page.items], next=page.next)


def _saved(written: Sequence[Written]) -> dict[str, Any]:
    new = sum(one.is_new for one in written)
    items = [WrittenFactor(key=one.key, version=one.version, is_new=one.is_new) for one in written]
    return {"saved": new, "unchanged": len(written) - new, "items": items}


def _values(row: DictRow, model: type[BaseModel]) -> dict[str, Any]:
    columns = {"start": "from_date", "end": "to_date"}
    return {name: row[columns.get(name, name)] for name in model.model_fields}
