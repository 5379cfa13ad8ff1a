"""Decoupling of a site: what was used and made in two periods, from the database, judged by the maths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from api import consumption_store, driver_store, site_store
from api.calendar.buckets import By, Calendar, bucket_day, buckets, edges, next_bucket_day
from api.database import Connection
from api.driver_store import Driver, DriverSpan
from api.indicators import sentences
from api.indicators.decoupling import LEAST_USABLE_DAYS, Judgement, Pressure, Verdict, are_alike, indices, judge
from api.indicators.sentences import Text
from api.periods import Days
from api.series import Row, counted, series_of
from api.site_store import SiteRow
from schemas.quantities import SCALE
from schemas.resources import Resource

INDICATORS = (Resource.ENERGY, Resource.WATER, Resource.MATERIAL, Resource.WASTE)
Counted = tuple[Row, int]
_COMPARABLE = 0.15
"""Periods whose lengths differ by more than this are not compared at all [our own choice]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a site used of one resource in a period, exports taken off. `usable` is that of the worst meter.

    As much is estimated as of all its meters together: estimates of what came in and of what went out don't cancel.
    """

    days: Days
    unit: str
    measured: int
    estimated: int
    rows: int
    coverage: float
    usable: float
    worst_meter: str
    months: dict[date, int]

    @property
    def pressure(self) -> Pressure:
        return Pressure(measured=Fraction(self.measured, SCALE), estimated=Fraction(self.estimated, SCALE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A driver over a period: its value, or why there is none."""

    days: Days
    value: Fraction | None
    unit: str | None
    price_year: int | None
    problem: Text | None
    months: dict[date, Fraction]


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A whole month in either period, and both indices (daily mean of the base period = 100)."""

    first: date
    end: date
    pressure: Fraction | None
    driver: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """One resource judged. `judgement` is None where the data allow no comparison; `sentence` then says why."""

    resource: Resource
    unit: str
    meters: list[str]
    base: Used
    period: Used
    judgement: Judgement | None
    reason: Text | None
    doubts: list[Text]
    sentence: Text
    series: list[Month]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every indicator of a site against one driver."""

    driver: Driver
    base: Made
    period: Made
    indicators: list[Indicator]


async def report(
    connection: Connection,
    site: SiteRow,
    *,
    base: Days,
    period: Days,
    driver: Driver,
    indicators: Sequence[Resource] = INDICATORS,
) -> Report:
    """Judge the indicators that the site has counting meters for (`api.series.counted`)."""
    made = [_made(days, await driver_store.within(connection, site, driver, days), driver) for days in (base, period)]
    meters = await site_store.meters(connection, site)
    found = []
    for resource in indicators:
        roots = list(counted([meter for meter in meters if meter["resource"] == resource]))
        if roots:
            used = [await _used(connection, roots, days, site.zone) for days in (base, period)]
            found.append(_indicator(resource, roots, driver, used=used, made=made))
    return Report(driver=driver, base=made[0], period=made[1], indicators=found)


async def _used(connection: Connection, roots: Sequence[Counted], days: Days, zone: ZoneInfo) -> Used:
    within = days.within(zone)
    meters = [meter for meter, _ in roots]
    signs = {meter["id"]: sign for meter, sign in roots}
    found = list(buckets(within, By.MONTH, Calendar()))
    sums = await consumption_store.sums_by_bucket(connection, [series_of(m) for m in meters], edges(found, within))
    usable = await consumption_store.usable_days(connection, [meter["number"] for meter in meters], within)
    worst = min(meters, key=lambda meter: usable.get(meter["number"], 0))
    months: dict[date, int] = {}
    estimated = 0
    for (month, meter), row in sums.items():
        used = signs[meter] * int(row["measured"] + row["estimated"])
        months[found[month].day] = months.get(found[month].day, 0) + used
        estimated += int(row["estimated"]) if signs[meter] > 0 else abs(int(row["estimated"]))
    return Used(
        days=days,
        unit=meters[0]["canonical_unit"],
        measured=sum(months.values()) - estimated,
        estimated=estimated,
        rows=len(sums),
        coverage=float(sum(row["covered_ms"] for row in sums.values())) / (within.length_ms * len(roots)),
        usable=usable.get(worst["number"], 0) / days.count,
        worst_meter=worst["id"],
        months=months,
    )


def _made(days: Days, spans: Sequence[DriverSpan], driver: Driver) -> Made:
    """The sum of the spans inside the period, if they cover each of its days once, in one unit and one price level."""
    missing = list(_uncovered(days, spans))
    units, years = {span.unit for span in spans}, {span.price_year for span in spans}
    problem = None
    if missing:
        listed = ", ".join(f"{first} – {end}" for first, end in missing[:5]) + (" …" if len(missing) > 5 else "")
        name = sentences.DRIVERS[driver]
        problem = Text(
            f"{name.en} has no value for {listed} (the last day is not counted)",
            f"{name.da} har ingen værdi for {listed} (sidste dag ikke medregnet)",
        )
    elif sum((span.end - span.first).days for span in spans) > days.count:
        problem = Text("driver values overlap, so days would count twice", "driverværdier overlapper hinanden")
    elif len(units) > 1 or len(years) > 1:
        problem = Text(
            "driver values of one period have different units or price years",
            "driverværdier i samme periode har forskellige enheder eller prisår",
        )
    months = {
        s.first: Fraction(s.value) for s in spans if s.first.day == 1 and s.end == next_bucket_day(s.first, By.MONTH)
    }
    return Made(
        days=days,
        value=None if problem else sum((Fraction(span.value) for span in spans), Fraction(0)),
        unit=next(iter(units)) if len(units) == 1 else None,
        price_year=next(iter(years)) if len(years) == 1 else None,
        problem=problem,
        months=months,
    )


def _uncovered(days: Days, spans: Sequence[DriverSpan]) -> Iterator[tuple[date, date]]:
    """The spans of the period that no value covers. Values are kept free of overlaps where they are stored."""
    reached = days.first
    for span in sorted(spans, key=lambda span: span.first):
        if span.first > reached:
            yield reached, span.first
        reached = max(reached, span.end)
    if reached < days.end:
        yield reached, days.end


def _indicator(
    resource: Resource, roots: Sequence[Counted], driver: Driver, *, used: Sequence[Used], made: Sequence[Made]
) -> Indicator:
    base, period = used
    made_base, made_period = made
    reason = _obstacle(base, period, made_base, made_period)
    judgement, doubts = None, list[Text]()
    if reason is None and made_base.value is not None and made_period.value is not None:
        judgement = judge(
            pressure=(base.pressure, period.pressure),
            driver=(made_base.value, made_period.value),
            usable_days=(base.usable, period.usable),
            days=(base.days.count, period.days.count),
        )
        doubts = list(_doubts(judgement, base, period, driver)) if judgement.verdict is Verdict.LEANING else []
        sentence = sentences.tell(judgement, resource=resource, driver=driver, doubts=doubts)
    else:
        sentence = sentences.cannot_tell(resource, reason or Text("unknown", "ukendt"))
    return Indicator(
        resource=resource,
        unit=base.unit,
        meters=[meter["id"] for meter, _ in roots],
        base=base,
        period=period,
        judgement=judgement,
        reason=reason,
        doubts=doubts,
        sentence=sentence,
        series=list(_series(base, period, made_base, made_period)),
    )


def _obstacle(base: Used, period: Used, made_base: Made, made_period: Made) -> Text | None:
    """What forbids any comparison, if something does."""
    for used, when in ((base, Text("base period", "basisperioden")), (period, Text("period", "perioden"))):
        if used.rows == 0:
            return Text(f"there are no readings in the {when.en}", f"der er ingen aflæsninger i {when.da}")
    if _difference(base.days, period.days) > _COMPARABLE:
        return sentences.unequal_lengths(base.days.count, period.days.count) + Text(
            "; choose equal lengths", "; vælg lige lange perioder"
        )
    if problem := made_base.problem or made_period.problem:
        return problem
    if made_base.price_year != made_period.price_year:
        return Text(
            f"the money of the base period is in prices of {made_base.price_year}, that of the period in prices of "
            f"{made_period.price_year}; give both in prices of one year",
            f"basisperiodens beløb er i {made_base.price_year}-priser, periodens i {made_period.price_year}-priser; "
            "angiv begge i samme års priser",
        )
    if made_base.unit != made_period.unit:
        return Text(
            f"the driver is in {made_base.unit} in the base period and in {made_period.unit} in the period",
            f"driveren er i {made_base.unit} i basisperioden og i {made_period.unit} i perioden",
        )
    return None


def _doubts(judgement: Judgement, base: Used, period: Used, driver: Driver) -> Iterator[Text]:
    if len(judgement.states) > 1:
        total = abs(base.measured) + abs(base.estimated) + abs(period.measured) + abs(period.estimated)
        estimated = abs(base.estimated) + abs(period.estimated)
        yield sentences.doubt_of_states(judgement.states, Fraction(estimated, total or 1))
    for used, is_base in ((base, True), (period, False)):
        if used.usable < LEAST_USABLE_DAYS:
            yield sentences.doubt_of_days(used.usable, is_base=is_base, meter=used.worst_meter)
    lengths = (base.days.count, period.days.count)
    if judgement.daily_states != judgement.states:
        yield sentences.doubt_of_daily_means(*lengths, judgement.daily_states, driver=driver)
    elif not are_alike(*lengths):
        yield sentences.doubt_of_lengths(*lengths)


def _difference(base: Days, period: Days) -> float:
    return abs(period.count - base.count) / base.count


def _series(base: Used, period: Used, made_base: Made, made_period: Made) -> Iterator[Month]:
    for used, made in ((base, made_base), (period, made_period)):
        months = list(_whole_months(used.days))
        lengths = [(end - first).days for first, end in months]
        quantities: list[Any] = [
            (Fraction(used.months[first], SCALE), length) if first in used.months else None
            for (first, _), length in zip(months, lengths, strict=True)
        ]
        drivers: list[Any] = [
            (made.months[first], length) if first in made.months else None
            for (first, _), length in zip(months, lengths, strict=True)
        ]
        pressure = indices(quantities, base=(base.pressure.total, base.days.count))
        economy = indices(drivers, base=(made_base.value or Fraction(0), base.days.count))
        for (first, end), p, d in zip(months, pressure, economy, strict=True):
            yield Month(first=first, end=end, pressure=p, driver=d)


def _whole_months(days: Days) -> Iterator[tuple[date, date]]:
    first = bucket_day(days.first, By.MONTH)
    if first < days.first:
        first = next_bucket_day(first, By.MONTH)
    while (end := next_bucket_day(first, By.MONTH)) <= days.end:
        yield first, end
        first = end
