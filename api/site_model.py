"""The site model between its file form and its tables.

`apply_site_model` writes what a model says and removes nothing: readings may hang on any part.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow, tuple_row
from psycopg.types.json import Jsonb

from api import site_statements
from api.database import Connection as AsyncConnection
from api.errors import ModelRefusedError
from api.offer_store import OFFERS
from api.offers import parse_offers, with_offered_settings
from schemas.locks import ROLLUP_TURN
from schemas.resources import MeterKind
from schemas.site import SiteModel

Connection = psycopg.Connection[TupleRow]


def apply_site_model(connection: Connection, model: SiteModel) -> list[str]:
    """Write the model in one transaction, by key; applying it again changes nothing.

    Nothing is removed. Returned are the parts that the database has and the model has not, such as
    `meter oven-gas`, for a person to decide upon. The history of a meter whose rules change
    (`max_gap`, `rated_maximum` …) is put down to be rolled up again. What the model leaves out of a meter is as its
    agent offers it.

    Raises ModelRefusedError when the model contradicts itself, or changes what stored readings mean (the unit,
    kind, interval or resource of a meter that has readings, the unit of a product that was made).
    """
    check_site_model(model)
    reports = connection.execute(OFFERS, {"organisation": model.organisation.id, "site": model.site.id}).fetchall()
    steps = _steps(with_offered_settings(model, parse_offers((agent, report) for agent, report, _ in reports)))
    rows: list[TupleRow] | None = None
    with connection.transaction():
        while isinstance(step := _advance(steps, rows), Step):
            cursor = connection.execute(step.statement, step.values)
            rows = cursor.fetchall() if cursor.description else []
    return step


async def apply_checked_site_model(connection: AsyncConnection, model: SiteModel) -> list[str]:
    """The same on one of the API's connections, for a model that `check_site_model` let pass."""
    steps = _steps(model)
    rows: list[TupleRow] | None = None
    async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        while isinstance(step := _advance(steps, rows), Step):
            await cursor.execute(step.statement, step.values)
            rows = await cursor.fetchall() if cursor.description else []
    return step


def check_site_model(model: SiteModel) -> None:
    """Raises ModelRefusedError with everything in which the model contradicts itself."""
    if problems := model.problems():
        raise ModelRefusedError([f"{'.'.join(map(str, p.location))}: {p.message}" for p in problems])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One statement and its values."""

    statement: LiteralString
    values: Mapping[str, Any]


Steps = Generator[Step, list[TupleRow] | None, list[str]]


def _advance(steps: Steps, rows: list[TupleRow] | None) -> Step | list[str]:
    """The next step, or the result at the end. `rows` are those of the step before."""
    try:
        return steps.send(rows)
    except StopIteration as end:
        result: list[str] = end.value
        return result


def _steps(model: SiteModel) -> Steps:
    """What writes a model, knowing no connection: each step is answered with its rows. Ends with what is left over."""
    before = _only((yield Step(statement=site_statements.MODEL_VERSION, values={})))
    organisation: dict[str, Any] = {"key": model.organisation.id, "name": model.organisation.name}
    yield Step(statement=site_statements.ORGANISATION, values=organisation)
    owner = _only((yield Step(statement=site_statements.ORGANISATION_ID, values=organisation)))
    place = {
        "organisation": owner,
        "key": model.site.id,
        "name": model.site.name,
        "time_zone": model.site.time_zone,
        "fiscal_year_start": model.site.fiscal_year_start,
        "shifts": Jsonb([shift.model_dump(mode="json") for shift in model.site.shifts]),
        "holidays": sorted(set(model.site.holidays)),
        "grid_area": model.site.grid_area,
    }
    yield Step(statement=site_statements.SITE, values=place)
    site = _only((yield Step(statement=site_statements.SITE_ID, values=place)))
    meters = {"site": site, "parts": Jsonb(_meters(model))}
    products = {"site": site, "parts": _parts(model, "products")}
    _refuse_changed_meaning(
        meters=(yield Step(statement=site_statements.CHANGED_IN_USE, values=meters)) or [],
        products=(yield Step(statement=site_statements.PRODUCT_UNIT_IN_USE, values=products)) or [],
    )
    groups = ("lines", "utilities", "products", "agents", "meters", "virtual_meters")
    keys = {group: [part.id for part in getattr(model, group)] for group in groups}
    _refuse_double_names((yield Step(statement=site_statements.NAMED_TWICE, values={"site": site, **keys})) or [])
    changed = [number for (number,) in (yield Step(statement=site_statements.CHANGED_RULES, values=meters)) or []]
    if changed:
        # A step of the roll-up that began with the old rule is over then, and the next one begins with the new.
        yield Step(statement=site_statements.TAKE_TURN, values={"turn": ROLLUP_TURN})
        yield Step(statement=site_statements.COMPUTE_AGAIN, values={"meters": changed})
    yield Step(statement=site_statements.LINES, values={"site": site, "parts": _parts(model, "lines")})
    yield Step(statement=site_statements.UTILITIES, values={"site": site, "parts": _parts(model, "utilities")})
    yield Step(statement=site_statements.PRODUCTS, values=products)
    yield Step(statement=site_statements.AGENTS, values={"site": site, "parts": _parts(model, "agents")})
    yield Step(statement=site_statements.METERS, values=meters)
    yield Step(statement=site_statements.PARENTS, values=meters)
    yield Step(
        statement=site_statements.VIRTUAL_METERS, values={"site": site, "parts": _parts(model, "virtual_meters")}
    )
    yield Step(statement=site_statements.LOOK_AT_ATTRIBUTION, values={"site": site, "before": before})
    left_over = (yield Step(statement=site_statements.LEFT_OVER, values={"site": site, **keys})) or []
    return [f"{what} {key}" for what, key in left_over]


def _refuse_changed_meaning(*, meters: Sequence[TupleRow], products: Sequence[TupleRow]) -> None:
    found = [
        f"meter {key} has readings as {resource}, {kind}"
        + (f" of {interval_ms / 1000:g} s" if kind == MeterKind.INTERVAL else "")
        + f", in {unit}"
        + (f" with conversion {conversion:g}" if conversion is not None else "")
        + ", which would come to mean something else; give the changed meter a new id"
        for key, resource, kind, unit, conversion, interval_ms in meters
    ]
    found += [
        f"product {key} was made and is counted in {unit}; give the product with another unit a new id"
        for key, unit in products
    ]
    if found:
        raise ModelRefusedError(found)


def _refuse_double_names(rows: Sequence[TupleRow]) -> None:
    if rows:
        raise ModelRefusedError(
            [f"{key} is the id of a {what} from before, which is not removed; choose another id" for what, key in rows]
        )


def _only(rows: list[TupleRow] | None) -> int:
    if not rows:
        raise AssertionError("the part was written one statement ago")
    return int(rows[0][0])


def _parts(model: SiteModel, group: str) -> Jsonb:
    return Jsonb([part.model_dump(mode="json", by_alias=True) for part in getattr(model, group)])


def _meters(model: SiteModel) -> list[dict[str, object]]:
    return [
        {
            **meter.model_dump(mode="json", by_alias=True),
            "canonical_unit": meter.canonical_unit,
            "to_canonical": meter.to_canonical,
        }
        for meter in model.meters
    ]
