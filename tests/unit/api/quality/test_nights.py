"""Leaks: what is above the norm of the nights before, and whose it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from api.quality.facts import MeterFacts, NightLoad
from api.quality.nights import FEWEST_NIGHTS, Leak, find_leaks
from schemas.resources import MeterKind, Resource

FIRST = date(2026, 3, 1)


def meter(key, parent=None) -> MeterFacts:
    return MeterFacts(
        meter=key,
        name=key,
        agent="cabinet",
        resource=Resource.WATER,
        kind=MeterKind.COUNTER,
        unit="m3",
        max_gap_ms=1_800_000,
        parent=parent,
    )


def nights(bases, mean=1.0) -> list[NightLoad]:
    """One a night from FIRST on; None: not known."""
    return [
        NightLoad(night=day, start=at(day, 0), end=at(day, 4), base=base, mean=mean)
        for i, base in enumerate(bases)
        if base is not None
        for day in [FIRST + timedelta(days=i)]
    ]


def at(day, hour) -> datetime:
    return datetime.combine(day, time(hour), UTC)


def leaks(loads, meters=None, first=0, last=400) -> list[Leak]:
    start, end = (at(FIRST + timedelta(days=days), 0) for days in (first, last))
    return find_leaks(meters or [meter("water")], loads, start=start, end=end)


def test_a_night_far_above_the_others_is_a_leak():
    (leak,) = leaks({"water": nights([0.2] * 20 + [0.6])})
    assert (leak.nights, leak.base, leak.start) == (1, 0.6, at(FIRST + timedelta(days=20), 0))
    # The mean of an hour is 1: a twentieth of it, or a quarter of the usual 0.2, may come on top.
    assert leak.norm == pytest.approx(0.25)
    assert leak.goes_on


def test_what_scatters_anyway_is_none():
    scattered = [0.2, 0.3, 0.1] * 7
    assert leaks({"water": nights([*scattered, 0.6])}) == []
    assert len(leaks({"water": nights([*scattered, 1.2])})) == 1


@pytest.mark.parametrize(("base", "found"), [(0.04, 0), (0.06, 1)])
def test_a_meter_that_rests_at_night_may_still_drip(base, found):
    assert len(leaks({"water": nights([0.0] * 10 + [base])})) == found


@pytest.mark.parametrize(("known", "found"), [(FEWEST_NIGHTS - 1, 0), (FEWEST_NIGHTS, 1)])
def test_too_few_nights_make_no_norm(known, found):
    assert len(leaks({"water": nights([0.2] * known + [5.0])})) == found


def test_nights_longer_ago_than_four_weeks_do_not_count():
    assert leaks({"water": nights([0.2] * 10 + [None] * 28 + [5.0])}) == []


def test_nights_on_end_are_one_leak_and_unknown_nights_do_not_part_them():
    found = leaks({"water": nights([0.2] * 20 + [0.6, None, 0.7, 0.2, 0.6])})
    assert [(leak.nights, leak.base, leak.goes_on) for leak in found] == [(2, 0.7, False), (1, 0.6, True)]


def test_only_nights_that_end_in_the_period_are_told():
    loads = {"water": nights([0.2] * 20 + [0.6] * 5)}
    (leak,) = leaks(loads, first=22, last=24)
    assert (leak.nights, leak.start) == (2, at(FIRST + timedelta(days=22), 0))


def test_a_leak_is_told_of_the_meter_nearest_to_it():
    meters = [meter("main"), meter("hall", "main"), meter("tap", "hall")]
    usual = [1.0] * 20
    loads = {
        "main": nights([*usual, 1.5]),
        "hall": nights([*usual, 1.5]),
        "tap": nights([0.1] * 20 + [0.6]),
    }
    assert [leak.meter for leak in leaks(loads, meters)] == ["tap"]
    # What the parts do not explain is the whole's own.
    loads["main"] = nights([*usual, 2.5])
    assert [leak.meter for leak in leaks(loads, meters)] == ["main", "tap"]
    # A part in between of which that night nothing is known hides nothing.
    loads["hall"], loads["main"] = nights([*usual]), nights([*usual, 1.5])
    assert [leak.meter for leak in leaks(loads, meters)] == ["tap"]
