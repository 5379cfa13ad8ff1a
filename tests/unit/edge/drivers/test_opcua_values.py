from __future__ import annotations

import math

import pytest

from edge.drivers.opcua.values import Clock, RefusedValueError, Sample, Teller
from edge.drivers.quantity import Quantity
from edge.readings import Reading
from schemas.resources import MeterKind, Quality, Resource

NOW = 1_795_298_400_000


def teller(kind: MeterKind = MeterKind.COUNTER, clock: Clock = Clock.SOURCE, **more: object) -> Teller:
    quantity = Quantity.model_validate(
        {"unit": "kW" if kind is MeterKind.RATE else "kWh", "resource": Resource.ENERGY, "kind": kind, **more}
    )
    return Teller("oven", quantity, clock=clock)


def read(of: Teller, sample: Sample, now_ms: int = NOW) -> Reading:
    found = of.reading(sample, now_ms=now_ms)
    assert found is not None
    return found


def test_the_sources_time_is_the_instant() -> None:
    found = read(teller(), Sample(value=7, source_ms=NOW - 1_500, server_ms=NOW - 20))

    assert (found.at_ms, found.value, found.unit, found.quality) == (NOW - 1_500, 7.0, "kWh", Quality.GOOD)


@pytest.mark.parametrize(
    ("source_ms", "server_ms", "expected"),
    [
        (None, NOW - 20, NOW - 20),
        (0, NOW - 20, NOW - 20),
        (NOW + 3_600_000, NOW - 20, NOW - 20),
        (None, None, NOW),
        (NOW + 7_200_000, NOW + 7_200_000, NOW),
        (1_325_376_000_000, NOW - 20, NOW - 20),
    ],
    ids=["no source", "source of 1970", "source keeps local time", "neither", "both keep local time", "source of 2012"],
)
def test_a_time_that_cannot_be_right_gives_way_to_the_next(
    source_ms: int | None, server_ms: int | None, expected: int
) -> None:
    assert read(teller(), Sample(value=1.0, source_ms=source_ms, server_ms=server_ms)).at_ms == expected


@pytest.mark.parametrize(("clock", "expected"), [(Clock.SERVER, NOW - 20), (Clock.AGENT, NOW)], ids=["server", "agent"])
def test_another_clock_can_be_chosen(clock: Clock, expected: int) -> None:
    sample = Sample(value=1.0, source_ms=NOW - 1_500, server_ms=NOW - 20)

    assert read(teller(clock=clock), sample).at_ms == expected


def test_a_value_that_stands_still_is_told_again_with_the_servers_time() -> None:
    oven = teller()
    read(oven, Sample(value=5.0, source_ms=NOW - 9_000, server_ms=NOW))

    again = read(oven, Sample(value=5.0, source_ms=NOW - 9_000, server_ms=NOW + 60_000), NOW + 60_005)
    without = read(oven, Sample(value=5.0, source_ms=NOW - 9_000, server_ms=NOW - 9_000), NOW + 120_000)

    assert (again.at_ms, again.value) == (NOW + 60_000, 5.0)
    assert without.at_ms == NOW + 120_000


def test_what_comes_late_keeps_its_own_time() -> None:
    oven = teller()
    read(oven, Sample(value=5.0, source_ms=NOW, server_ms=NOW))

    assert read(oven, Sample(value=4.0, source_ms=NOW - 3_000, server_ms=NOW - 3_000)).at_ms == NOW - 3_000


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (Clock.SERVER, [(10.0, NOW), (12.0, NOW + 60_000), (11.0, NOW + 55_000), (12.0, NOW + 58_000)]),
        (Clock.AGENT, [(10.0, NOW), (12.0, NOW + 60_010), None, None]),
    ],
    ids=["server", "agent"],
)
def test_a_change_that_is_told_after_a_later_value_was_read_is_not_one_of_now(
    clock: Clock, expected: list[tuple[float, int] | None]
) -> None:
    """Or else the counter would fall and rise again."""
    oven = teller(clock=clock)
    said = [
        (Sample(value=10.0, server_ms=NOW, is_asked=True), NOW),
        (Sample(value=12.0, server_ms=NOW + 60_000, is_asked=True), NOW + 60_010),
        (Sample(value=11.0, server_ms=NOW + 55_000), NOW + 61_000),
        (Sample(value=12.0, server_ms=NOW + 58_000), NOW + 61_000),
    ]

    found = [oven.reading(sample, now_ms=now_ms) for sample, now_ms in said]

    assert [reading and (reading.value, reading.at_ms) for reading in found] == expected


def test_an_interval_is_told_once_and_only_with_its_own_time() -> None:
    shift = teller(MeterKind.INTERVAL, interval="15min")
    read(shift, Sample(value=5.0, source_ms=NOW, server_ms=NOW))

    assert shift.reading(Sample(value=5.0, source_ms=NOW, server_ms=NOW + 60_000), now_ms=NOW + 60_000) is None
    with pytest.raises(RefusedValueError, match="needs the source's time"):
        shift.reading(Sample(value=5.0, server_ms=NOW + 60_000), now_ms=NOW + 60_000)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0x4091_0000, Quality.ESTIMATED), (0x4090_0000, Quality.SUSPECT), (0x4094_0480, Quality.SUSPECT), (0x480, 0)],
    ids=["substitute", "last usable", "out of range", "good with overflow"],
)
def test_an_uncertain_value_says_so(status: int, expected: int) -> None:
    assert read(teller(), Sample(value=1.0, status=status, source_ms=NOW)).quality == expected


def test_the_last_usable_value_is_not_one_of_now() -> None:
    oven = teller()
    read(oven, Sample(value=1.0, status=0x4090_0000, source_ms=NOW))

    assert oven.reading(Sample(value=1.0, status=0x4090_0000, source_ms=NOW), now_ms=NOW + 60_000) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x8034_0000, "no such node"),
        (0x8031_0000, "connection to the device behind it"),
        (0x80AB_0000, "Bad"),
        (0xC000_0000, "Bad"),
        (0x4092_0000, "nothing has been measured"),
    ],
    ids=["unknown node", "no communication", "unknown code", "reserved", "initial value"],
)
def test_a_bad_value_is_absent_and_says_why(status: int, words: str) -> None:
    with pytest.raises(RefusedValueError, match=words):
        teller().reading(Sample(value=0.0, status=status, status_name="BadOrSo", source_ms=NOW), now_ms=NOW)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0, 2.0], "array of 2"),
        ("12.5", "str"),
        (True, "Boolean"),
        (None, "no value"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (b"12", "bytes"),
    ],
    ids=["array", "text", "boolean", "nothing", "nan", "infinite", "bytes"],
)
def test_what_is_no_number_is_refused_with_words(value: object, words: str) -> None:
    with pytest.raises(RefusedValueError, match=words):
        teller().reading(Sample(value=value, source_ms=NOW), now_ms=NOW)


def test_a_count_is_scaled_as_a_person_would_write_it() -> None:
    assert read(teller(scale=0.1), Sample(value=123_456_789, source_ms=NOW)).value == 12_345_678.9
