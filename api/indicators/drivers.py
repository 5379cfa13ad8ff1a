"""What a period made: driver values over its days, money at the prices of one year [METHODS §4]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from api.indicators.sentences import DRIVERS, NOWHERE
from api.indicators.wording import Text


class Driver(StrEnum):
    """What the economic side is told in."""

    REVENUE = "revenue"
    VALUE_ADDED = "value_added"
    PRODUCTION_VOLUME = "production_volume"

    @property
    def is_money(self) -> bool:
        return self is not Driver.PRODUCTION_VOLUME


class Origin(StrEnum):
    """Where a driver's number comes from: somebody gave it, or production meters counted it."""

    GIVEN = "given"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSpan:
    """A driver value of the days [first, end)."""

    first: date
    end: date
    value: Decimal
    unit: str
    price_year: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceIndex:
    """How high prices were, by year; only its ratios mean something."""

    key: str
    values: Mapping[int, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLevel:
    """The year whose prices money is told in, and the index that brings it there.

    Without an index, `trouble` says why no money of another year can be brought there.
    """

    year: int
    index: PriceIndex | None = None
    trouble: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A driver over the days [first, end): its value, or why there is none.

    `nominal` is the sum as it was given, where money was deflated. `months` are values of whole months. Of a measured
    one `estimated` is the part of the value that is, and `usable` the share of usable days of `worst_meter`.
    """

    first: date
    end: date
    value: Fraction | None
    unit: str | None
    price_year: int | None = None
    nominal: Fraction | None = None
    problem: Text | None = None
    months: Mapping[date, Fraction] = field(default_factory=dict)
    origin: Origin = Origin.GIVEN
    estimated: Fraction = Fraction(0)
    usable: float = 1.0
    worst_meter: str | None = None
    note: Text | None = None


def price_years(spans: Sequence[DriverSpan]) -> set[int]:
    """The years whose prices the values are in."""
    return {span.price_year for span in spans if span.price_year is not None}


def main_year(first: date, end: date) -> int:
    """The year that most of the days [first, end) lie in; the earlier of two with as many."""
    days: Counter[int] = Counter()
    for year in range(first.year, end.year + 1):
        days[year] = (min(end, date(year + 1, 1, 1)) - max(first, date(year, 1, 1))).days
    return max(sorted(days), key=lambda year: days[year])


def deflate(span: DriverSpan, level: PriceLevel) -> Fraction:
    """The value at the prices of the level's year: value · index(year) / index(its own year).

    Raises KeyError with the year that the index does not know.
    """
    value = Fraction(span.value)
    if span.price_year is None or span.price_year == level.year:
        return value
    if level.index is None:
        raise KeyError(span.price_year)
    to, own = (level.index.values[year] for year in (level.year, span.price_year))
    return value * Fraction(to) / Fraction(own)


def add_up(
    first: date,
    end: date,
    spans: Sequence[DriverSpan],
    driver: Driver,
    *,
    level: PriceLevel | None,
    place: Text = NOWHERE,
    remedy: Text = NOWHERE,
) -> Made:
    """The sum of the spans inside [first, end), if they cover each of its days once, in one unit.

    Money of several price years is deflated to the `level`, each value by itself. `remedy` ends the problem of missing
    values.
    """
    name = DRIVERS[driver] + place
    problem = _hole(first, end, spans, name, remedy) or _mixture(spans, end - first)
    values: list[Fraction] = []
    try:
        values = [Fraction(span.value) if level is None else deflate(span, level) for span in spans]
    except KeyError as error:
        problem = problem or _no_index(level, error.args[0])
    nominal = sum((Fraction(span.value) for span in spans), Fraction(0))
    value = sum(values, Fraction(0))
    units = {span.unit for span in spans}
    return Made(
        first=first,
        end=end,
        value=None if problem else value,
        unit=next(iter(units)) if len(units) == 1 else None,
        price_year=level.year if level and spans else None,
        nominal=nominal if level and any(span.price_year != level.year for span in spans) else None,
        problem=problem,
        months={
            span.first: amount
            for span, amount in zip(spans, values, strict=False)
            if span.first.day == 1 and span.end == next_month(span.first)
        },
    )


def next_month(first: date) -> date:
    """The first day of the month after the one that begins on `first`."""
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1)


def _hole(first: date, end: date, spans: Sequence[DriverSpan], name: Text, remedy: Text) -> Text | None:
    missing = list(_uncovered(first, end, spans))
    if not missing:
        return None
    listed = ", ".join(f"{start} – {until}" for start, until in missing[:5]) + (" …" if len(missing) > 5 else "")
    told = Text(
        f"{name.en} has no value for {listed} (the last day is not counted)",
        f"{name.da} har ingen værdi for {listed} (sidste dag ikke medregnet)",
    )
    return told + remedy


def _mixture(spans: Sequence[DriverSpan], length: timedelta) -> Text | None:
    if sum((span.end - span.first for span in spans), timedelta()) > length:
        return Text("driver values overlap, so days would count twice", "driverværdier overlapper hinanden")
    if len({span.unit for span in spans}) > 1:
        return Text(
            "driver values of one period have different units", "driverværdier i samme periode har forskellige enheder"
        )
    return None


def _no_index(level: PriceLevel | None, year: int) -> Text:
    if level is None or level.index is None:
        unknown = Text(
            f"money at the prices of {year} can't be compared without a price index",
            f"beløb i {year}-priser kan ikke sammenlignes uden et prisindeks",
        )
        return (level and level.trouble) or unknown
    return Text(
        f"the price index {level.index.key} has no value for {year}; add it (`afkobling prices import FILE.csv`)",
        f"prisindekset {level.index.key} har ingen værdi for {year}; tilføj den (`afkobling prices import FIL.csv`)",
    )


def _uncovered(first: date, end: date, spans: Sequence[DriverSpan]) -> Iterator[tuple[date, date]]:
    """The spans of [first, end) that no value covers. Values are kept free of overlaps where they are stored."""
    reached = first
    for span in sorted(spans, key=lambda span: span.first):
        if span.first > reached:
            yield reached, span.first
        reached = max(reached, span.end)
    if reached < end:
        yield reached, end
