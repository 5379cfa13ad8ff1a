"""Spans of time as callers give them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from api.calendar.buckets import By, Calendar, next_bucket_day
from api.calendar.clock import Period, midnight
from api.problems import bad_value

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+ -]\d\d:\d\d)")
_NAMED = re.compile(
    r"(?P<year>\d{4})"
    r"|FY(?P<fiscal>\d{4})(/(?P<ends>\d\d))?"
    r"|(?P<of_quarter>\d{4})-Q(?P<quarter>[1-4])"
    r"|(?P<of_month>\d{4})-(?P<month>\d\d)"
    r"|(?P<of_week>\d{4})-W(?P<week>\d\d)"
    r"|(?P<day>\d{4}-\d\d-\d\d)",
    re.ASCII | re.IGNORECASE,
)
NAMED = "2025, FY2025, FY2024/25, 2025-Q1, 2025-03, 2025-W07, 2025-03-31, or two of them: 2024-07..2025-06"
"""How a period is named, for help texts."""
Moment = TypeVar("Moment", date, datetime)
EARLIEST, LATEST = 1990, 2200
"""Years that a period may lie in: what is beyond is a slip of the pen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Whole local days, from `first` up to, but not with, `end`."""

    first: date
    end: date

    @property
    def count(self) -> int:
        return (self.end - self.first).days

    def within(self, zone: ZoneInfo) -> Period:
        return Period(start=midnight(self.first, zone), end=midnight(self.end, zone), zone=zone)


def parse_period(start: str, end: str, zone: ZoneInfo) -> Period:
    """Both ends as an instant with its offset or as a date, which is the site's midnight. Raises a 422 problem."""
    period = Period(start=_edge("from", start, zone), end=_edge("to", end, zone), zone=zone)
    if period.start >= period.end:
        raise bad_value("to", "must be after `from`")
    return period


def parse_days(place: str, first: str, end: str) -> Days:
    """Both ends as a date. `place` is the prefix of the two parameters' names. Raises a 422 problem."""
    days = Days(first=_date(f"{place}from", first), end=_date(f"{place}to", end))
    if days.first >= days.end:
        raise bad_value(f"{place}to", f"must be after `{place}from`; it is the first day after the period")
    return days


def parse_named(text: str, calendar: Calendar, *, place: str = "period") -> Days:
    """The days of a named period: a year, fiscal year, quarter, month, week or day, or from one `..` to another.

    `FY2025` is the fiscal year whose last day lies in 2025, `FY2024/25` says both its years. Of `A..B` both A and B are
    a part. Raises a 422 problem about `place`.
    """
    first, dots, last = text.strip().partition("..")
    days = _named(place, first, calendar)
    if not dots:
        return days
    end = _named(place, last, calendar).end
    if end <= days.first:
        raise bad_value(place, f"{last} is over before {first} begins; write the earlier one first")
    return Days(first=days.first, end=end)


def _named(place: str, text: str, calendar: Calendar) -> Days:
    found = _NAMED.fullmatch(text)
    if found is None:
        raise bad_value(place, f"{text!r} names no period; write {NAMED}")
    try:
        days = _days_named(found.groupdict(), calendar)
    except ValueError as error:
        raise bad_value(place, f"{text!r} is not in the calendar: {error}; write {NAMED}") from error
    _sane(place, days.first)
    _sane(place, days.end)
    return days


def _days_named(parts: dict[str, str | None], calendar: Calendar) -> Days:
    match parts:
        case {"year": str(year)}:
            return _bucket(date(int(year), 1, 1), By.YEAR)
        case {"fiscal": str(year), "ends": ends}:
            return _fiscal_year(int(year), ends, calendar)
        case {"of_quarter": str(year), "quarter": str(quarter)}:
            first = date(int(year), 3 * int(quarter) - 2, 1)
            return Days(first=first, end=next_bucket_day(first.replace(month=first.month + 2), By.MONTH))
        case {"of_month": str(year), "month": str(month)}:
            return _bucket(date(int(year), int(month), 1), By.MONTH)
        case {"of_week": str(year), "week": str(week)}:
            return _bucket(date.fromisocalendar(int(year), int(week), 1), By.WEEK)
        case _:
            return _bucket(date.fromisoformat(str(parts["day"])), By.DAY)


def _fiscal_year(year: int, ends: str | None, calendar: Calendar) -> Days:
    """By the year of its last day; `ends` are two digits of it where `year` is the one in which it begins."""
    start = calendar.fiscal_year_start
    if ends is None:
        # One that begins on the first of January ends in the year in which it began.
        return _bucket(date(year if start == (1, 1) else year - 1, *start), By.FISCAL_YEAR)
    if start == (1, 1):
        raise ValueError(f"this site's fiscal year is the calendar year; write FY{year}")
    if int(ends) != (year + 1) % 100:
        raise ValueError(f"a fiscal year has two years in a row, as in FY{year}/{(year + 1) % 100:02}")
    return _bucket(date(year, *start), By.FISCAL_YEAR)


def _bucket(first: date, by: By) -> Days:
    return Days(first=first, end=next_bucket_day(first, by))


def parse_span(start: str | None, end: str | None, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """The same as `parse_period`, but either end may be left open. Raises a 422 problem."""
    first = None if start is None else _edge("from", start, zone)
    last = None if end is None else _edge("to", end, zone)
    if first is not None and last is not None and first >= last:
        raise bad_value("to", "must be after `from`")
    return first, last


def parse_instant(place: str, text: str, zone: ZoneInfo) -> datetime:
    """An instant with its offset, or a date: the site's midnight. To the millisecond. Raises a 422 problem."""
    at = _edge(place, text, zone)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def parse_day(place: str, text: str) -> date:
    """A local day. Raises a 422 problem."""
    return _date(place, text)


def _edge(place: str, text: str, zone: ZoneInfo) -> datetime:
    if _DATE.fullmatch(text):
        return midnight(_date(place, text), zone)
    if not _INSTANT.fullmatch(text):
        raise bad_value(
            place, "write a date (2026-01-31) or an instant with its offset (2026-01-31T12:00:00Z, …T12:00:00+01:00)"
        )
    try:
        # In an address a plus sign means a space; whoever forgot to write %2B meant the plus sign.
        at = datetime.fromisoformat(text.replace(" ", "+")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise bad_value(place, f"not in the calendar: {error}") from error
    return _sane(place, at)


def _date(place: str, text: str) -> date:
    if not _DATE.fullmatch(text):
        raise bad_value(place, "not a date; write it like 2026-01-31")
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise bad_value(place, f"not a date: {error}") from error
    return _sane(place, day)


def _sane(place: str, at: Moment) -> Moment:
    if not EARLIEST <= at.year <= LATEST:
        raise bad_value(place, f"must lie in the years {EARLIEST} to {LATEST}")
    return at
