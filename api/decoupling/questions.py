"""A question about decoupling, as callers put it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from api.calendar.buckets import Calendar
from api.decoupling.places import Level
from api.decoupling.windows import rolling_windows
from api.indicators.drivers import Driver
from api.indicators.pressures import Indicator
from api.periods import NAMED, Days, parse_days, parse_named
from api.problems import bad_value

MOST_MONTHS = 36
"""The longest that a rolling window may be."""
_LONGEST_DAYS = 3660
_CO2 = "co2"
INDICATOR_NAMES = (*Indicator, _CO2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which periods, driver, indicators and places; `windows` are rolling ones, judged against the base as well."""

    base: Days
    period: Days
    driver: Driver = Driver.REVENUE
    indicators: Sequence[Indicator] = tuple(Indicator)
    level: Level = Level.SITE
    keys: Sequence[str] | None = None
    price_index: str | None = None
    with_series: bool = True
    windows: Sequence[Days] = ()


def parse_indicators(names: Sequence[str] | None) -> list[Indicator]:
    """In the usual order; `co2` are both of its bases, and no names all of them. Raises a 422 problem."""
    if not names:
        return list(Indicator)
    for name in names:
        if name not in INDICATOR_NAMES:
            raise bad_value("indicator", f"there is no {name!r}; there are {', '.join(INDICATOR_NAMES)}")
    return [one for one in Indicator if one.value in names or (one.is_carbon and _CO2 in names)]


def parse_periods(
    calendar: Calendar,
    *,
    base: str | None,
    base_span: tuple[str | None, str | None],
    period: str | None,
    span: tuple[str | None, str | None],
) -> tuple[Days, Days]:
    """Base period and period, each by its name or by its two days. Raises a 422 problem."""
    found = []
    for place, prefix, name, (first, end) in (("base", "base_", base, base_span), ("period", "", period, span)):
        if name is not None and (first is not None or end is not None):
            raise bad_value(place, f"give either {place} or {prefix}from and {prefix}to, not both")
        if name is not None:
            days = parse_named(name, calendar, place=place)
        elif first is not None and end is not None:
            days = parse_days(prefix, first, end)
        else:
            missing = f"{prefix}from" if first is None else f"{prefix}to"
            raise bad_value(missing, f"this is missing; give {prefix}from and {prefix}to, or {place}, as in {NAMED}")
        if days.count > _LONGEST_DAYS:
            raise bad_value(place, f"has {days.count} days; ask for {_LONGEST_DAYS} at most")
        found.append(days)
    return found[0], found[1]


def parse_rolling(months: int | None, period: Days, *, today: date) -> list[Days]:
    """The trailing windows of so many months that end in the period, up to today. Raises a 422 problem."""
    if months is None:
        return []
    if not 1 <= months <= MOST_MONTHS:
        raise bad_value("rolling", f"give the months of a window, 1 to {MOST_MONTHS}")
    windows = [window for window in rolling_windows(period, months) if window.end <= today]
    if not windows:
        raise bad_value("rolling", "no month of the period is over yet; choose an earlier period")
    return windows
