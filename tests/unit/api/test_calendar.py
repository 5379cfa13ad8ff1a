"""The calendar where it is hard: odd offsets, clocks put back over midnight, a day that never was."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from api.calendar.buckets import By, Calendar, buckets, edges
from api.calendar.clock import Period, first_instant, hour_end, local_day, midnight, stretches

APIA, LORD_HOWE, ST_JOHNS = ZoneInfo("Pacific/Apia"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/St_Johns")
COPENHAGEN = ZoneInfo("Europe/Copenhagen")


def utc(text) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def period(start, end, zone) -> Period:
    return Period(start=utc(start), end=utc(end), zone=zone)


def hours(day, zone) -> float:
    return (midnight(day + timedelta(days=1), zone) - midnight(day, zone)) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Copenhagen", date(2026, 3, 29), 23),
        ("Europe/Copenhagen", date(2025, 10, 26), 25),
        ("Asia/Kathmandu", date(2026, 6, 1), 24),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Pacific/Chatham", date(2026, 9, 27), 23),
        # The clock is put on at midnight, and back to midnight or over it.
        ("America/Havana", date(2026, 3, 8), 23),
        ("America/Asuncion", date(2024, 3, 23), 25),
        ("America/St_Johns", date(2010, 11, 7), 25),
        ("Pacific/Apia", date(2011, 12, 29), 24),
        ("Pacific/Apia", date(2011, 12, 30), 0),
        ("Pacific/Apia", date(2011, 12, 31), 24),
    ],
)
def test_how_long_days_are(zone, day, length):
    assert hours(day, ZoneInfo(zone)) == length


def test_midnights_are_on_the_zones_own_quarter():
    assert midnight(date(2026, 6, 1), ZoneInfo("Asia/Kathmandu")) == utc("2026-05-31T18:15")
    assert midnight(date(2026, 6, 1), ZoneInfo("Pacific/Chatham")) == utc("2026-05-31T11:15")


def test_a_day_goes_on_when_the_clock_shows_the_day_before_again():
    # At 00:01 the clocks of Newfoundland went back to 23:01.
    assert midnight(date(2010, 11, 7), ST_JOHNS) == utc("2010-11-07T02:30")
    again = utc("2010-11-07T02:45")
    assert again.astimezone(ST_JOHNS).date() == date(2010, 11, 6)
    assert local_day(again, ST_JOHNS) == date(2010, 11, 7)


def test_a_time_that_the_clock_jumps_over_is_when_it_jumps():
    assert first_instant(datetime(2026, 3, 29, 2, 30), COPENHAGEN) == utc("2026-03-29T01:00")  # noqa: DTZ001
    assert first_instant(datetime(2011, 12, 30, 14), APIA) == utc("2011-12-30T10:00")  # noqa: DTZ001
    # At 00:01 the clock went to 01:01: 00:30 was never shown, and a quarter begins at 00:15 of the old one.
    assert first_instant(datetime(2010, 3, 14, 0, 30), ST_JOHNS) == utc("2010-03-14T03:45")  # noqa: DTZ001


def test_a_time_that_the_clock_shows_twice_is_the_first():
    assert first_instant(datetime(2025, 10, 26, 2, 30), COPENHAGEN) == utc("2025-10-26T00:30")  # noqa: DTZ001


def test_a_day_that_the_zone_skips_is_no_bucket():
    asked = period("2011-12-28T10:00", "2012-01-02T10:00", APIA)
    days = list(buckets(asked, By.DAY, Calendar()))
    assert [str(bucket.day) for bucket in days] == [
        "2011-12-28",
        "2011-12-29",
        "2011-12-31",
        "2012-01-01",
        "2012-01-02",
    ]
    assert all(one.end == other.start for one, other in pairwise(days))
    (week, *_) = buckets(asked, By.WEEK, Calendar())
    assert week.end - week.start == timedelta(days=6)


def test_a_period_that_begins_where_a_day_is_shown_again():
    asked = period("2010-11-07T02:45", "2010-11-07T05:00", ST_JOHNS)
    (only,) = buckets(asked, By.DAY, Calendar())
    assert (only.start, only.day) == (utc("2010-11-07T02:30"), date(2010, 11, 7))


class TestHours:
    @staticmethod
    def around(start, end, zone) -> list[tuple[datetime, datetime]]:
        asked = period(start, end, zone)
        clock, at, found = list(stretches(asked)), asked.start, []
        while at < asked.end:
            found.append((at, hour_end(at, clock)))
            at = found[-1][1]
        return found

    def test_of_a_zone_that_is_half_an_hour_off(self):
        found = self.around("2026-06-01T00:15", "2026-06-01T03:15", ZoneInfo("Asia/Kathmandu"))
        assert [end - start for start, end in found] == [timedelta(hours=1)] * 3

    def test_that_are_cut_where_the_clock_moves_by_half_an_hour(self):
        # 02:00 becomes 01:30: the hour that began at 01:00 is over, and 01:30–02:00 comes once more.
        found = self.around("2026-04-04T14:00", "2026-04-04T16:30", LORD_HOWE)
        assert [(end - start) // timedelta(minutes=1) for start, end in found] == [60, 30, 60]
        # 02:00 becomes 02:30: that hour has half of its length.
        found = self.around("2026-10-03T14:30", "2026-10-03T17:00", LORD_HOWE)
        assert [(end - start) // timedelta(minutes=1) for start, end in found] == [60, 30, 60]

    def test_that_are_shown_twice_or_never(self):
        for start, end, count in (
            ("2025-10-25T22:00", "2025-10-26T23:00", 25),
            ("2026-03-28T23:00", "2026-03-29T22:00", 23),
        ):
            assert len(self.around(start, end, COPENHAGEN)) == count

    def test_a_change_right_before_the_period_is_known(self):
        clock = list(stretches(period("2026-04-04T15:15", "2026-04-04T15:30", LORD_HOWE)))
        assert clock[-1].start == utc("2026-04-04T15:00")


class TestFiscalYears:
    JULY = Calendar(fiscal_year_start=(7, 1))

    def test_begin_on_their_day(self):
        found = list(buckets(period("2025-06-30T12:00", "2026-07-02T00:00", COPENHAGEN), By.FISCAL_YEAR, self.JULY))
        assert [str(bucket.day) for bucket in found] == ["2024-07-01", "2025-07-01", "2026-07-01"]
        assert found[1].start == utc("2025-06-30T22:00")
        assert (found[1].end - found[1].start).days == 365

    def test_from_january_are_years(self):
        asked = period("2025-12-31T12:00", "2026-01-02T00:00", COPENHAGEN)
        assert list(buckets(asked, By.FISCAL_YEAR, Calendar())) == list(buckets(asked, By.YEAR, Calendar()))

    def test_begin_on_the_last_of_february(self):
        asked = period("2024-02-28T12:00", "2024-03-02T00:00", COPENHAGEN)
        found = list(buckets(asked, By.FISCAL_YEAR, Calendar(fiscal_year_start=(2, 28))))
        assert [str(bucket.day) for bucket in found] == ["2024-02-28"]


def test_edges_are_cut_to_the_period():
    asked = period("2026-01-01T12:00", "2026-01-02T12:00", ZoneInfo("UTC"))
    found = list(buckets(asked, By.DAY, Calendar()))
    assert edges(found, asked) == [utc("2026-01-01T12:00"), utc("2026-01-02T00:00"), utc("2026-01-02T12:00")]
