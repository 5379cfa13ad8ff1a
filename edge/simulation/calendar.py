"""When the workshop works: local days as UTC quarters, Danish public holidays, shutdowns, opening hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from schemas.quantities import QUARTER_MS

ONE_DAY = timedelta(days=1)
QUARTERS_PER_HOUR = 4
LAST_GREAT_PRAYER_DAY = 2023
SUMMER_SHUTDOWN_WEEKS = (29, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One local day: its first UTC millisecond and its quarters of an hour (92, 96 or 100)."""

    date: date
    start_ms: int
    quarters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifts:
    """Working hours of a line. ISO weekdays; whole local hours.

    On a line that works through the night, `opens` holds for a day after a closed one, and `closes` for a day
    before a closed one; between working days it does not stop.
    """

    weekdays: frozenset[int]
    opens: int
    closes: int
    through_the_night: bool = False


def days_between(first: date, last: date, zone: ZoneInfo) -> Iterator[Day]:
    """The local days from `first` up to and including `last`."""
    start_ms = midnight_ms(first, zone)
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(ordinal)
        next_ms = midnight_ms(day + ONE_DAY, zone)
        yield Day(date=day, start_ms=start_ms, quarters=(next_ms - start_ms) // QUARTER_MS)
        start_ms = next_ms


def midnight_ms(day: date, zone: ZoneInfo) -> int:
    """Unix milliseconds of the local midnight at which `day` begins."""
    return round(datetime.combine(day, time(), zone).timestamp() * 1000)


def easter(year: int) -> date:
    """Easter Sunday, by the anonymous Gregorian computus (Meeus, Astronomical Algorithms, 1991, ch. 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    f = (b + 8) // 25
    g = (b - f + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


@cache
def holidays(year: int) -> frozenset[date]:
    """Days on which a Danish workshop is closed: the public holidays, and those that agreements give."""
    sunday = easter(year)
    # Maundy Thursday, Good Friday, Easter, Easter Monday, Ascension Day, Whit Sunday and Monday
    movable = {sunday + timedelta(days=offset) for offset in (-3, -2, 0, 1, 39, 49, 50)}
    if year <= LAST_GREAT_PRAYER_DAY:
        movable.add(sunday + timedelta(days=26))
    # New Year's Day, Constitution Day, Christmas Eve to 26 December, New Year's Eve
    fixed = {date(year, month, day) for month, day in ((1, 1), (6, 5), (12, 24), (12, 25), (12, 26), (12, 31))}
    return frozenset(movable | fixed)


def is_working_day(day: date, weekdays: frozenset[int]) -> bool:
    """Whether those who work on `weekdays` work on that day."""
    return (
        day.isoweekday() in weekdays
        and day not in holidays(day.year)
        and day.isocalendar().week not in SUMMER_SHUTDOWN_WEEKS
    )


def working_quarters(day: date, shifts: Shifts) -> tuple[int, int] | None:
    """First quarter of the day in which the line is manned and the first after it, None on a closed day.

    Clocks change on Sundays only, on which nobody works, so the quarter's number tells its local time.
    """
    if not is_working_day(day, shifts.weekdays):
        return None
    opens, closes = shifts.opens, shifts.closes
    if shifts.through_the_night:
        opens = 0 if is_working_day(day - ONE_DAY, shifts.weekdays) else opens
        closes = 24 if is_working_day(day + ONE_DAY, shifts.weekdays) else closes
    return opens * QUARTERS_PER_HOUR, closes * QUARTERS_PER_HOUR
