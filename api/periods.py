"""Spans of time as callers give them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from api.calendar.clock import Period, midnight
from api.problems import bad_value

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+ -]\d\d:\d\d)")
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
