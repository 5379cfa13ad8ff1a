"""What a site may say of its calendar."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.calendar import WEEKDAYS, Shift
from schemas.configuration import ConfigurationError, parse_configuration
from schemas.site import SiteModel

ALL = [str(day) for day in WEEKDAYS]


def model(**calendar) -> SiteModel:
    site = {"id": "odense", "time_zone": "Europe/Copenhagen", **calendar}
    return SiteModel.model_validate({"organisation": {"id": "acme"}, "site": site})


def shift(key, start, end, weekdays=ALL) -> dict[str, Any]:
    return {"id": key, "start": start, "end": end, "weekdays": weekdays}


@pytest.mark.parametrize("day", ["01-01", "07-01", "12-31", "02-28"])
def test_fiscal_years_that_begin_on_a_day_of_every_year(day):
    assert model(fiscal_year_start=day).site.fiscal_year_start == day


@pytest.mark.parametrize(
    ("day", "words"),
    [
        ("02-29", "not in every year"),
        ("02-30", "is in no year"),
        ("13-01", "no year"),
        ("7-1", "as in 07-01"),
        ("", "07-01"),
    ],
)
def test_fiscal_years_that_do_not(day, words):
    with pytest.raises(ValidationError, match=words):
        model(fiscal_year_start=day)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": "06:10"}, "quarter of an hour"),
        ({"end": "13:59"}, "quarter of an hour"),
        ({"start": "24:00"}, "not a time of the day"),
        ({"start": "6:00"}, "as in 06:00"),
        ({"start": 360}, "valid string"),
        ({"weekdays": []}, "at least 1"),
        ({"weekdays": ["mon", "mon"]}, "stands twice"),
        ({"weekdays": ["monday"]}, "mon"),
        ({"id": "none"}, "choose another id"),
        ({"stop": "14:00"}, "Extra inputs"),
    ],
)
def test_shifts_that_can_not_be(change, words):
    with pytest.raises(ValidationError, match=words):
        model(shifts=[{**shift("early", "06:00", "14:00"), **change}])


def test_an_end_at_midnight_may_be_written_both_ways():
    both = [Shift.model_validate(shift("late", "16:00", end)) for end in ("24:00", "00:00")]
    assert both[0] == both[1]
    assert both[0].end_minute == 1440


@pytest.mark.parametrize("holiday", [20261225, 1.5, "25-12-2026", "2026-12-25T00:00", "2026-02-30"])
def test_holidays_are_dates(holiday):
    with pytest.raises(ValidationError, match="holidays"):
        model(holidays=[holiday])


class TestOverlaps:
    def test_shifts_that_follow_each_other(self):
        three = [shift("early", "06:00", "14:00"), shift("late", "14:00", "22:00"), shift("night", "22:00", "06:00")]
        assert model(shifts=three).problems() == []

    @pytest.mark.parametrize(
        ("one", "other", "weekday"),
        [
            (shift("a", "06:00", "14:00"), shift("b", "13:45", "22:00"), "mon"),
            (shift("a", "06:00", "14:00", ["tue"]), shift("b", "05:00", "15:00", ["tue"]), "tue"),
            # Monday's night reaches into Tuesday, Sunday's into Monday.
            (shift("a", "22:00", "06:00", ["mon"]), shift("b", "05:45", "14:00", ["tue"]), "tue"),
            (shift("a", "05:45", "14:00", ["mon"]), shift("b", "22:00", "06:00", ["sun"]), "sun"),
            (shift("a", "06:00", "06:00", ["sat"]), shift("b", "05:00", "07:00", ["sun"]), "sun"),
            (shift("a", "06:00", "14:00"), shift("b", "06:00", "14:00"), "mon"),
        ],
    )
    def test_shifts_that_overlap(self, one, other, weekday):
        for pair in ([one, other], [other, one]):
            (problem,) = model(shifts=pair).problems()
            assert problem.location == ("site", "shifts", 1)
            assert "overlaps" in problem.message
        (problem,) = model(shifts=[one, other]).problems()
        assert f"on {weekday};" in problem.message

    def test_an_id_stands_once(self):
        twice = [shift("a", "06:00", "14:00"), shift("a", "14:00", "22:00")]
        (problem,) = model(shifts=twice).problems()
        assert "stands twice" in problem.message


FILE = """
organisation: {id: acme}
site:
  id: hall
  time_zone: Europe/Copenhagen
  fiscal_year_start: 07-01
  holidays: [2026-12-25]
  shifts:
    - {id: day, start: 06:00, end: 22:00, weekdays: [mon, tue]}
    - {id: night, start: 22:00, end: 06:00, weekdays: [mon, tue]}
"""


def test_a_file_may_write_times_as_people_do():
    # YAML 1.1 makes 1320 of 22:00.
    site = parse_configuration(FILE, name="site.yaml", model=SiteModel).site
    assert [(s.start, s.end) for s in site.shifts] == [("06:00", "22:00"), ("22:00", "06:00")]
    assert (site.fiscal_year_start, str(site.holidays[0])) == ("07-01", "2026-12-25")


def test_problems_are_told_by_line():
    with pytest.raises(ConfigurationError, match=r"^site.yaml:10: site.shifts.1: night \(21:00–06:00\) overlaps day"):
        parse_configuration(FILE.replace("start: 22:00", "start: 21:00"), name="site.yaml", model=SiteModel)
    with pytest.raises(ConfigurationError, match=r"^site.yaml:9: site.shifts.0.end: 22:05 is not on a quarter"):
        parse_configuration(FILE.replace("end: 22:00", "end: 22:05"), name="site.yaml", model=SiteModel)
