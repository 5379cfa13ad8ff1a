"""Exchanges of meters and manual readings: what can be said of them, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, Field

from api import fact_store, site_store
from api.cursor import Page, page_of
from api.database import Connection
from api.exact_json import Answer, Instant
from api.fact_store import EXCHANGES, MANUAL_READINGS, AskedFacts, FactTable
from api.problems import ProblemError, bad_value
from api.readings_store import quality_name
from api.said import (
    CLOCKS_DIFFER,
    InstantText,
    Said,
    Value,
    all_or_none,
    check_range,
    fact_key,
    instant_of,
    no_such,
    parse_fact_key,
)
from api.site_store import SiteRow
from schemas.resources import MeterKind
from schemas.topics import Key

_FURTHEST_AHEAD = timedelta(days=366)


class ExchangeRecord(Said):
    """At `at` one device took the place of another: the last register of the old one, the first of the new one.

    Readings from `at` on are the new one's. It may be told up to a year ahead. Registers are in the meter's unit.
    """

    meter: Key
    at: InstantText
    last_old: Value
    first_new: Value


class ManualReading(Said):
    """What a person read on the dial at `at`; of an interval meter the quantity of the interval that ends there.

    Where the meter itself said something for that instant, this counts instead, and both are kept. `unit` may be given
    as a check: it must be the meter's.
    """

    meter: Key
    at: InstantText
    value: Value
    unit: Annotated[str, Field(max_length=20)] | None = None


class ManualReadings(BaseModel):
    """Readings to store, all or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[list[ManualReading], Field(min_length=1, max_length=10_000)]


class ExchangeVersion(Answer):
    """What was said once; registers are null where the record was taken back."""

    last_old: float | None
    first_new: float | None
    author: str
    reason: str
    recorded_at: Instant


class ExchangeAnswer(ExchangeVersion):
    """The record that counts, registers in `unit`, and all its versions, oldest first."""

    id: str
    meter: str
    at: Instant
    unit: str
    is_withdrawn: bool
    versions: list[ExchangeVersion]


class ManualVersion(Answer):
    """What was said once; `value` is null where the reading was taken back."""

    value: float | None
    author: str
    reason: str
    recorded_at: Instant


class MeterSaid(Answer):
    """What the meter itself said."""

    value: float
    quality: str


class ManualAnswer(ManualVersion):
    """The reading that counts, in `unit`, all its versions, oldest first, and what the meter itself said then."""

    id: str
    meter: str
    at: Instant
    unit: str
    is_withdrawn: bool
    meter_said: MeterSaid | None
    versions: list[ManualVersion]


class SavedReadings(Answer):
    """How many were stored, and how many were known already just as they are."""

    saved: int
    unchanged: int
    ids: list[str]


async def record_exchange(connection: Connection, site: SiteRow, record: ExchangeRecord) -> ExchangeAnswer:
    """Store an exchange, or another version of it. Raises a 404, 409 or 422 problem."""
    meter = site_store.only(await site_store.meters(connection, site, record.meter), "meter")
    if meter["kind"] != MeterKind.COUNTER:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "not-a-counter",
            f"{record.meter} is a meter of kind {meter['kind']}: it has no register to go on from, so its exchange "
            "changes nothing and needs no record",
        )
    latest = datetime.now(UTC) + _FURTHEST_AHEAD
    at = instant_of("at", record.at, site.zone, latest=latest, until="a year from now")
    for place in ("last_old", "first_new"):
        check_range(place, getattr(record, place), unit=meter["unit"], to_canonical=meter["to_canonical"])
    registers = {"last_old": record.last_old, "first_new": record.first_new}
    await fact_store.save(connection, EXCHANGES, [_fact(meter["number"], at, record, registers)])
    return await find_exchange(connection, site, fact_key(record.meter, at))


async def withdraw_exchange(connection: Connection, site: SiteRow, text: str, said: Said) -> ExchangeAnswer:
    """Take a record back by a version without registers. Raises a 404, 409 or 422 problem."""
    found = await find_exchange(connection, site, text)
    _refuse_withdrawn("exchange", found, said)
    (meter,) = await site_store.meters(connection, site, found.meter)
    nothing = {"last_old": None, "first_new": None}
    await fact_store.save(connection, EXCHANGES, [_fact(meter["number"], found.at, said, nothing)])
    return await find_exchange(connection, site, text)


async def save_manual(connection: Connection, site: SiteRow, readings: Sequence[ManualReading]) -> SavedReadings:
    """Store readings, all or none. Raises a 422 problem that lists everything that is wrong with them."""
    meters = {meter["id"]: meter for meter in await site_store.meters(connection, site)}
    latest = datetime.now(UTC) + CLOCKS_DIFFER
    facts: dict[tuple[int, datetime], dict[str, Any]] = {}
    problems = []
    for i, reading in enumerate(readings):
        try:
            fact = _manual_fact(f"items.{i}", reading, meters, site, latest)
            key = (fact["meter_id"], fact["at"])
            if facts.setdefault(key, fact) != fact:
                raise bad_value(f"items.{i}", f"{reading.meter} at {reading.at} stands twice; keep one of them")
        except ProblemError as problem:
            problems.append(problem)
    all_or_none(problems)
    written = await fact_store.save(connection, MANUAL_READINGS, list(facts.values()))
    ids = {meter["number"]: meter["id"] for meter in meters.values()}
    told = [fact_key(ids[number], at) for number, at in facts]
    return SavedReadings(saved=len(written), unchanged=len(readings) - len(written), ids=told)


async def withdraw_manual(connection: Connection, site: SiteRow, text: str, said: Said) -> ManualAnswer:
    """Take a reading back by a version without a value. Raises a 404, 409 or 422 problem."""
    found = await find_manual(connection, site, text)
    _refuse_withdrawn("manual reading", found, said)
    (meter,) = await site_store.meters(connection, site, found.meter)
    await fact_store.save(connection, MANUAL_READINGS, [_fact(meter["number"], found.at, said, {"value": None})])
    return await find_manual(connection, site, text)


async def find_exchange(connection: Connection, site: SiteRow, text: str) -> ExchangeAnswer:
    """The record that is called `meter:milliseconds`. Raises a 404 or 422 problem."""
    return _exchange(await _only_fact(connection, EXCHANGES, site, "exchange", text))


async def find_manual(connection: Connection, site: SiteRow, text: str) -> ManualAnswer:
    """The reading that is called `meter:milliseconds`. Raises a 404 or 422 problem."""
    return _manual(await _only_fact(connection, MANUAL_READINGS, site, "manual reading", text))


async def exchange_page(connection: Connection, asked: AskedFacts) -> Page[ExchangeAnswer]:
    """A page of records, the newest first."""
    facts = await fact_store.page(connection, EXCHANGES, asked)
    page = page_of(facts, asked.limit, _key)
    return Page(items=[_exchange(versions) for versions in page.items], next=page.next)


async def manual_page(connection: Connection, asked: AskedFacts) -> Page[ManualAnswer]:
    """A page of manual readings, the newest first."""
    facts = await fact_store.page(connection, MANUAL_READINGS, asked)
    page = page_of(facts, asked.limit, _key)
    return Page(items=[_manual(versions) for versions in page.items], next=page.next)


def _key(versions: list[DictRow]) -> tuple[datetime, int]:
    return versions[0]["at"], versions[0]["meter_id"]


def _fact(number: int, at: datetime, said: Said, values: Mapping[str, float | None]) -> dict[str, Any]:
    return {"meter_id": number, "at": at, "author": said.author, "reason": said.reason, **values}


def _manual_fact(
    place: str, reading: ManualReading, meters: dict[str, DictRow], site: SiteRow, latest: datetime
) -> dict[str, Any]:
    meter = meters.get(reading.meter)
    if meter is None:
        raise bad_value(f"{place}.meter", f"there is no meter {reading.meter} at this site; add it to the site model")
    if reading.unit not in {None, meter["unit"]}:
        raise bad_value(f"{place}.unit", f"{reading.meter} is in {meter['unit']}; give the value in that, or its unit")
    at = instant_of(f"{place}.at", reading.at, site.zone, latest=latest, until="five minutes from now")
    check_range(f"{place}.value", reading.value, unit=meter["unit"], to_canonical=meter["to_canonical"])
    return _fact(meter["number"], at, reading, {"value": reading.value})


def _refuse_withdrawn(what: str, found: ExchangeAnswer | ManualAnswer, said: Said) -> None:
    if found.is_withdrawn and (found.author, found.reason) != (said.author, said.reason):
        raise ProblemError(
            HTTPStatus.CONFLICT, "withdrawn-already", f"the {what} {found.id} was withdrawn by {found.author} already"
        )


async def _only_fact(connection: Connection, table: FactTable, site: SiteRow, what: str, text: str) -> list[DictRow]:
    key, at = parse_fact_key(what, text)
    meters = [meter["number"] for meter in await site_store.meters(connection, site, key)]
    found = await fact_store.versions(connection, table, meters[0], at) if meters else []
    if not found:
        raise no_such(what, text)
    return found


def _exchange(rows: list[DictRow]) -> ExchangeAnswer:
    newest = rows[-1]
    names = ExchangeVersion.model_fields
    return ExchangeAnswer(
        **{name: newest[name] for name in (*names, "meter", "at", "unit")},
        id=fact_key(newest["meter"], newest["at"]),
        is_withdrawn=newest["last_old"] is None,
        versions=[ExchangeVersion(**{name: row[name] for name in names}) for row in rows],
    )


def _manual(rows: list[DictRow]) -> ManualAnswer:
    newest = rows[-1]
    names = ManualVersion.model_fields
    said = newest["said_value"]
    return ManualAnswer(
        **{name: newest[name] for name in (*names, "meter", "at", "unit")},
        id=fact_key(newest["meter"], newest["at"]),
        is_withdrawn=newest["value"] is None,
        meter_said=None if said is None else MeterSaid(value=said, quality=quality_name(newest["said_quality"])),
        versions=[ManualVersion(**{name: row[name] for name in names}) for row in rows],
    )
