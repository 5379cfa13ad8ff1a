"""What a bench of questions asks about, straight into the tables: quarters, runs, driver values, factors, readings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from api.database import Connection as AsyncConnection
from api.factors.given import GivenFactor, GivenSeries
from api.factors.versions import put
from api.said import Said
from api.turns import connect
from collector.binary_copy import CONSUMPTION_TYPES, READING_TYPES, encode_rows
from deploy.bench.query_site import AREA, GAS, LINES, lines, products, products_of
from schemas.carriers import FactorBasis, Gas
from schemas.quantities import QUARTER_MS, SCALE
from schemas.site import SiteModel

_HOUR_MS = 3_600_000
_STRETCH = 30 * 96
"""Quarters of one COPY."""
_LOST, _ESTIMATED = 0.005, 0.02
_SOURCE = "simulated for a bench"
_RUNS: LiteralString = """
COPY run (line_id, key, state, product_id, order_number, start_at, end_at, said_at) FROM STDIN
"""
_DRIVERS: LiteralString = """
INSERT INTO driver_value (organisation_id, site_id, product_id, driver, from_date, to_date, value, unit, price_year,
                          source)
SELECT site.organisation_id, site.id, product.id, d.driver, d.from_date, d.to_date, d.value, 'DKK', 2025, %(source)s
FROM unnest(%(product)s::text[], %(driver)s::text[], %(from)s::date[], %(to)s::date[], %(value)s::numeric[])
     AS d (product, driver, from_date, to_date, value)
CROSS JOIN site LEFT JOIN product ON product.key = d.product
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whole local days, up to a last midnight."""

    first: date
    end: date
    zone: ZoneInfo

    @property
    def start_ms(self) -> int:
        return _midnight_ms(self.first, self.zone)

    @property
    def end_ms(self) -> int:
        return _midnight_ms(self.end, self.zone)

    @property
    def days(self) -> int:
        return (self.end - self.first).days


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def fill_quarters(connection: psycopg.Connection, model: SiteModel, span: Span) -> int:
    """A row of every meter and quarter, but for some that are lost; some are estimated. Returns how many."""
    ids: dict[str, int] = dict(connection.execute("SELECT key, id FROM meter").fetchall())
    rng = np.random.default_rng(4)
    first, count = span.start_ms // QUARTER_MS, (span.end_ms - span.start_ms) // QUARTER_MS
    rows = 0
    for begin in range(0, count, _STRETCH):
        quarters = first + np.arange(begin, min(begin + _STRETCH, count))
        for meter, used in _quantities(model, quarters, rng).items():
            there = rng.random(len(quarters)) > _LOST
            is_estimated = rng.random(len(quarters)) < _ESTIMATED
            columns = (
                np.full(len(quarters), ids[meter], np.int32),
                quarters * QUARTER_MS,
                np.where(is_estimated, 0, used),
                np.where(is_estimated, used, 0),
                np.where(is_estimated, 0, QUARTER_MS).astype(np.int32),
            )
            rows += _copy(connection, "consumption", CONSUMPTION_TYPES, tuple(column[there] for column in columns))
    connection.execute(
        "INSERT INTO rolled_meter (meter_id, first_at) SELECT id, to_timestamp(%s / 1000.0) FROM meter", [span.start_ms]
    )
    connection.execute(
        "UPDATE rollup_progress SET closed_to = to_timestamp(%(at)s / 1000.0), "
        "computed_to = to_timestamp(%(at)s / 1000.0)",
        {"at": span.end_ms},
    )
    return rows


def _quantities(
    model: SiteModel, quarters: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Billionths by meter: a day's rhythm and chance; a whole is what its parts are, and a rest."""
    rhythm = 2.5 + np.sin(quarters % 96 / 96 * 2 * math.pi)
    made = {
        meter.id: (rhythm * rng.uniform(0.5, 1.5, len(quarters)) * SCALE).astype(np.int64) for meter in model.meters
    }
    # Later ones are deeper: what the drives of a line took is in the line's, and that in the site's.
    for meter in reversed(model.meters):
        if meter.direction == "export":
            made[meter.id] //= 5
        elif meter.parent is not None and meter.direction == "import":
            made[meter.parent] = made[meter.parent] + made[meter.id]
    return made


def fill_runs(connection: psycopg.Connection, span: Span) -> int:
    """Several orders a day on each line, with changeovers before them and idle after some. Returns how many runs."""
    line_ids: dict[str, int] = dict(connection.execute("SELECT key, id FROM line").fetchall())
    product_ids: dict[str, int] = dict(connection.execute("SELECT key, id FROM product").fetchall())
    rng = np.random.default_rng(5)
    count = 0
    for number in range(LINES):
        line = lines()[number]
        with connection.cursor() as cursor, cursor.copy(_RUNS) as copy:
            for state, product, start, end in _runs(number, span, rng):
                order = f"order-{line}-{count}" if product else None
                made = product_ids[product] if product else None
                copy.write_row((line_ids[line], f"{line}-{count}", state, made, order, start, end, end))
                count += 1
        # Whoever marks the days of runs looks for the run before each: the planner has to know that there are many.
        connection.execute("ANALYZE run")
    return count


def _runs(line: int, span: Span, rng: np.random.Generator) -> Iterator[tuple[str, str | None, datetime, datetime]]:
    at, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (span.start_ms, span.end_ms))
    while at < end:
        lengths = (("changeover", (20, 45)), ("running", (150, 420)), ("idle", (20, 200)))
        for state, (least, most) in lengths:
            until = min(at + timedelta(minutes=int(rng.integers(least, most))), end)
            if until > at:
                yield state, str(rng.choice(products_of(line))) if state == "running" else None, at, until
            at = until


def fill_drivers(connection: psycopg.Connection, span: Span) -> int:
    """Revenue and value added of the site and of each product, by whole calendar month. Returns how many values."""
    rng = np.random.default_rng(6)
    rows: list[tuple[str | None, str, date, date, int]] = []
    month = span.first.replace(day=1)
    while (following := (month + timedelta(days=32)).replace(day=1)) <= span.end:
        for product in (None, *products()):
            size = 20_000_000 if product is None else 1_000_000
            for driver, part in (("revenue", 1.0), ("value_added", 0.4)):
                rows.append((product, driver, month, following, round(size * part * rng.uniform(0.9, 1.1))))
        month = following
    names = ("product", "driver", "from", "to", "value")
    columns: dict[str, list[Any]] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    connection.execute(_DRIVERS, {**columns, "source": _SOURCE})
    return len(rows)


def fill_factors(database_url: str, span: Span) -> None:
    """As `put_factors` does, on a connection of its own."""

    async def fill() -> None:
        async with await connect(database_url, name="bench") as connection:
            await put_factors(connection, span)

    asyncio.run(fill())


async def put_factors(connection: AsyncConnection, span: Span) -> None:
    """Constant factors of gas and of the residual mix, and hourly ones of the grid."""
    (row,) = await (await connection.execute("SELECT id FROM organisation")).fetchall()
    said = Said(author="bench", reason="simulated factors")
    await put(connection, row["id"], _constant_factors(span), _hourly_factors(span), said)


def _constant_factors(span: Span) -> list[GivenFactor]:
    return [
        GivenFactor(
            key=f"bench-{carrier.replace('_', '-')}",
            carrier=carrier,
            basis=basis,
            value=Decimal("0.25"),
            unit="kg/kWh",
            gas=Gas.CO2E,
            start=span.first,
            source=_SOURCE,
            licence="none needed",
        )
        for carrier, basis in ((GAS, None), ("electricity", FactorBasis.RESIDUAL_MIX))
    ]


def _hourly_factors(span: Span) -> list[GivenSeries]:
    months: dict[str, dict[int, float]] = {}
    for hour in range(span.start_ms // _HOUR_MS, span.end_ms // _HOUR_MS):
        month = f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m}"
        months.setdefault(month, {})[hour] = 0.1 + 0.05 * math.sin(hour / 24 * 2 * math.pi)
    return [
        GivenSeries(
            key=f"bench-grid-{month}", area=AREA, source=_SOURCE, licence="none needed", remark=None, hours=hours
        )
        for month, hours in months.items()
    ]


def fill_readings(connection: psycopg.Connection, span: Span, count: int) -> int:
    """So many raw readings, of all meters alike, evenly over the last quarter of the span. Returns how many."""
    ids = np.array([row[0] for row in connection.execute("SELECT id FROM meter ORDER BY id").fetchall()], np.int32)
    instants = max(1, count // len(ids))
    start_ms = span.end_ms - (span.end_ms - span.start_ms) // 4
    at = start_ms + np.arange(instants, dtype=np.int64) * ((span.end_ms - start_ms) // instants)
    rows = 0
    for begin in range(0, instants, _STRETCH):
        part = at[begin : begin + _STRETCH]
        meter, when = np.tile(ids, len(part)), np.repeat(part, len(ids))
        value = np.repeat(1000.0 + (part - start_ms) / _HOUR_MS, len(ids))
        rows += _copy(connection, "reading", READING_TYPES, (meter, when, value, np.zeros(len(when), np.int16)))
    return rows


def _copy(connection: psycopg.Connection, table: str, types: tuple[str, ...], columns: tuple[NDArray[Any], ...]) -> int:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(table))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encode_rows(types, columns))
    return len(columns[0])
