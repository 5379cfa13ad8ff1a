"""Periods, calendars and cursors."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from api.calendar.buckets import By, Calendar, buckets
from api.calendar.clock import midnight
from api.cursor import decode_cursor, encode_cursor
from api.periods import parse_days, parse_named, parse_period
from api.problems import ProblemError

COPENHAGEN = ZoneInfo("Europe/Copenhagen")


def test_dates_are_the_sites_midnights():
    period = parse_period("2026-03-29", "2026-03-30", COPENHAGEN)
    assert (period.start, period.end) == (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    assert period.length_ms == 23 * 3_600_000


def test_instants_keep_their_offset():
    period = parse_period("2026-01-01T12:00:00+01:00", "2026-01-01T12:00:00.5Z", COPENHAGEN)
    assert (period.start.hour, period.end.microsecond) == (11, 500_000)


@pytest.mark.parametrize(
    ("by", "days"),
    [
        (By.DAY, ["2025-12-31", "2026-01-01"]),
        (By.WEEK, ["2025-12-29"]),
        (By.MONTH, ["2025-12-01", "2026-01-01"]),
        (By.YEAR, ["2025-01-01", "2026-01-01"]),
    ],
)
def test_buckets_that_a_period_touches(by, days):
    period = parse_period("2025-12-31T10:00:00Z", "2026-01-01T10:00:00Z", COPENHAGEN)
    assert [str(bucket.day) for bucket in buckets(period, by, Calendar())] == days


def test_a_midnight_that_the_clock_skips_is_when_the_day_begins():
    # In Havana the clock goes from 00:00 to 01:00.
    assert midnight(date(2026, 3, 8), ZoneInfo("America/Havana")) == datetime(2026, 3, 8, 5, tzinfo=UTC)


def test_days_end_with_the_first_day_after():
    assert parse_days("", "2025-01-01", "2026-01-01").count == 365
    with pytest.raises(ProblemError, match="base_to: must be after"):
        parse_days("base_", "2025-01-01", "2025-01-01")


def test_cursors_come_back_as_they_went():
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    assert decode_cursor(encode_cursor(at, "æ", 7), datetime, str, int) == [at, "æ", 7]
    before = datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)
    assert decode_cursor(encode_cursor(before), datetime) == [before]


@pytest.mark.parametrize("text", ["", "!", "e30", "W10", "WzFd", "W3RydWVd", "W1siYSJdXQ"])
def test_other_cursors_are_refused(text):
    with pytest.raises(ProblemError):
        decode_cursor(text, str)


JULY = Calendar(fiscal_year_start=(7, 1))


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("2025", "2025-01-01", "2026-01-01"),
        ("FY2025", "2024-07-01", "2025-07-01"),
        ("fy2025", "2024-07-01", "2025-07-01"),
        ("FY2024/25", "2024-07-01", "2025-07-01"),
        ("FY1999/00", "1999-07-01", "2000-07-01"),
        ("2025-Q1", "2025-01-01", "2025-04-01"),
        ("2025-Q4", "2025-10-01", "2026-01-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2025-12", "2025-12-01", "2026-01-01"),
        ("2026-W01", "2025-12-29", "2026-01-05"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("2024-07..2025-06", "2024-07-01", "2025-07-01"),
        ("2024-Q2..2024-06-10", "2024-04-01", "2024-06-11"),
    ],
)
def test_named_periods(text, first, end):
    found = parse_named(text, JULY)
    assert (str(found.first), str(found.end)) == (first, end)


def test_a_fiscal_year_that_is_the_calendar_year():
    assert parse_named("FY2025", Calendar()) == parse_named("2025", Calendar())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no period; write 2025, FY2025"),
        ("last year", "names no period"),
        ("2025-13", "not in the calendar"),
        ("2025-Q5", "names no period"),
        ("2025-W54", "not in the calendar"),
        ("2025-02-29", "not in the calendar"),
        ("FY2024/26", "two years in a row, as in FY2024/25"),
        ("1066", "must lie in the years 1990 to 2200"),
        ("2025..", "'' names no period"),
        ("2025..2024", "2024 is over before 2025 begins"),
        ("２０２５", "names no period"),
    ],
)
def test_what_names_no_period(text, told):
    with pytest.raises(ProblemError, match=told) as refused:
        parse_named(text, JULY, place="base")
    assert refused.value.problem.detail.startswith("base: ")


def test_two_years_of_a_fiscal_year_that_is_the_calendar_year():
    with pytest.raises(ProblemError, match="write FY2024"):
        parse_named("FY2024/25", Calendar())
