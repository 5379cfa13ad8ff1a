from __future__ import annotations

from datetime import date
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from edge.simulation.calendar import days_between, easter, holidays, is_working_day, working_quarters
from edge.simulation.factory import FURNACE, PRESS
from schemas.quantities import QUARTER_MS


@pytest.mark.parametrize(
    "sunday",
    [
        date(1818, 3, 22),  # the earliest date there is
        date(1943, 4, 25),  # the latest
        date(2000, 4, 23),
        date(2019, 4, 21),
        date(2024, 3, 31),
        date(2025, 4, 20),
        date(2026, 4, 5),
        date(2038, 4, 25),
    ],
)
def test_easter_falls_on_the_published_date(sunday: date) -> None:
    assert easter(sunday.year) == sunday


def test_danish_holidays_of_2025() -> None:
    assert sorted(holidays(2025)) == [
        date(2025, 1, 1),
        date(2025, 4, 17),
        date(2025, 4, 18),
        date(2025, 4, 20),
        date(2025, 4, 21),
        date(2025, 5, 29),
        date(2025, 6, 5),
        date(2025, 6, 8),
        date(2025, 6, 9),
        date(2025, 12, 24),
        date(2025, 12, 25),
        date(2025, 12, 26),
        date(2025, 12, 31),
    ]


def test_great_prayer_day_was_a_holiday_for_the_last_time_in_2023() -> None:
    assert date(2023, 5, 5) in holidays(2023)
    assert date(2024, 4, 26) not in holidays(2024)


def test_a_day_has_as_many_quarters_as_the_clock_gives_it() -> None:
    zone = ZoneInfo("Europe/Copenhagen")
    days = {day.date: day for day in days_between(date(2024, 3, 30), date(2024, 10, 28), zone)}
    assert days[date(2024, 3, 31)].quarters == 92
    assert days[date(2024, 10, 27)].quarters == 100
    assert {day.quarters for day in days.values()} == {92, 96, 100}
    for one, following in pairwise(days.values()):
        assert following.start_ms == one.start_ms + one.quarters * QUARTER_MS


def test_the_press_works_two_shifts_on_weekdays() -> None:
    assert working_quarters(date(2024, 1, 2), PRESS.shifts) == (24, 88)
    assert working_quarters(date(2024, 1, 6), PRESS.shifts) is None


def test_the_furnace_works_through_from_monday_morning_to_saturday_night() -> None:
    week = [working_quarters(date(2024, 1, day), FURNACE.shifts) for day in range(8, 15)]
    assert week == [(24, 96), (0, 96), (0, 96), (0, 96), (0, 96), (0, 88), None]


@pytest.mark.parametrize("day", [date(2024, 7, 15), date(2024, 7, 26), date(2024, 5, 9), date(2024, 12, 24)])
def test_nobody_works_in_the_shutdown_and_on_holidays(day: date) -> None:
    assert not is_working_day(day, PRESS.shifts.weekdays)
    assert not is_working_day(day, FURNACE.shifts.weekdays)
