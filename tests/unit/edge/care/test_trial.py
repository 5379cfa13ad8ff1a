"""Whether meters read with a new configuration as they did before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.care.trial import all_have_read, judge, reading_now, why_it_failed
from edge.last_readings import LastReading, LastReadings, patience_s, silent_meters
from edge.readings import Reading
from schemas.resources import MeterKind, Resource
from schemas.wire import OfferedMeter


def offer(meter: str, cadence_ms: int | None = 1_000) -> OfferedMeter:
    return OfferedMeter(
        meter=meter, resource=Resource.ENERGY, unit="kWh", kind=MeterKind.COUNTER, cadence_ms=cadence_ms
    )


def reading(meter: str) -> Reading:
    return Reading(meter=meter, at_ms=1_795_298_400_000, value=1.0, unit="kWh")


def last(meter: str, taken_s: float, pause_s: float | None = None) -> LastReading:
    return LastReading(reading=reading(meter), driver="d", taken_s=taken_s, pause_s=pause_s)


def test_meters_have_three_cadences_or_the_trial_if_that_is_longer() -> None:
    offers = [offer("fast", 1_000), offer("slow", 900_000), offer("gone-quiet", 1_000)]
    heard = {"fast": last("fast", 101.0), "slow": last("slow", 99.0), "gone-quiet": last("gone-quiet", 99.9)}
    names = ["fast", "slow", "gone-quiet", "no-more-offered"]

    def at(now_s: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
        judgement = judge(names, offers, heard, began_s=100.0, now_s=now_s, trial_s=120.0)
        return judgement.waiting, judgement.late

    assert at(219.0) == (("slow", "gone-quiet"), ())
    assert at(221.0) == (("slow", "gone-quiet"), ("gone-quiet",))
    assert at(100.0 + 2_701.0)[1] == ("slow", "gone-quiet")
    failed = judge(names, offers, heard, began_s=100.0, now_s=221.0, trial_s=120.0)
    assert why_it_failed(failed, 4).endswith("version 4 these meters gave nothing in time, and did before: gone-quiet")


def test_what_comes_when_it_likes_is_not_missed_after_a_restart() -> None:
    """Of its pauses nothing is known then: it has the trial, and fails nothing."""

    def at(now_s: float, heard: dict[str, LastReading]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        offers = [offer("event", None), offer("fast", 1_000)]
        judgement = judge(["event", "fast"], offers, heard, began_s=100.0, now_s=now_s, trial_s=120.0)
        return judgement.waiting, judgement.late

    read = {"fast": last("fast", 101.0)}
    assert at(219.0, read) == (("event",), ())
    assert at(221.0, read) == ((), ())
    assert at(221.0, {}) == (("fast",), ("fast",))
    # Its pauses are known without a restart, and so it is missed.
    known = {**read, "event": last("event", 90.0, pause_s=50.0)}
    assert at(249.0, known) == (("event",), ())
    assert at(251.0, known) == (("event",), ("event",))


def test_only_meters_that_are_read_now_are_missed() -> None:
    offers = [offer("reads"), offer("silent-for-long"), offer("never"), offer("event", None), offer("once", None)]
    heard = {
        "reads": last("reads", 999.0),
        "silent-for-long": last("silent-for-long", 500.0),
        "event": last("event", 990.0, pause_s=60.0),
        "once": last("once", 999.0),
    }
    found = reading_now(
        offers, heard, began_s=0.0, now_s=1_000.0, still_offered={"reads", "event", "once", "never"}, trial_s=120.0
    )
    assert found == ["reads", "event"]
    assert reading_now(offers, heard, began_s=0.0, now_s=1_000.0, still_offered=set(), trial_s=120.0) == []


def test_whether_it_is_clear_by_now_which_meters_are_read() -> None:
    offers = [offer("a"), offer("b")]
    assert not all_have_read(offers, {"a": last("a", 5.0)}, began_s=1.0)
    assert not all_have_read(offers, {"a": last("a", 5.0), "b": last("b", 0.5)}, began_s=1.0)
    assert all_have_read(offers, {"a": last("a", 5.0), "b": last("b", 5.0)}, began_s=1.0)


@given(
    heard=st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 200)),
    names=st.lists(st.sampled_from("abcdef"), unique=True),
    now_s=st.floats(100, 1_000),
)
def test_a_trial_passes_or_fails_by_itself(heard: dict[str, float], names: list[str], now_s: float) -> None:
    offers = [offer(name, 10_000) for name in "abcdef"]
    found = {name: last(name, at) for name, at in heard.items()}
    judgement = judge(names, offers, found, began_s=100.0, now_s=now_s, trial_s=60.0)
    assert set(judgement.late) <= set(judgement.waiting) <= set(names)
    assert judgement.has_passed == all(heard.get(name, 0.0) >= 100.0 for name in names)
    assert judgement.has_failed == (now_s > 160.0 and not judgement.has_passed)


def test_the_last_reading_of_each_meter() -> None:
    now_s = 0.0
    readings = LastReadings(most=2, clock=lambda: now_s)
    readings.note("d", [reading("a"), reading("a")])
    now_s = 4.0
    readings.note("d", [reading("a"), reading("b"), reading("c")])
    now_s = 5.0
    readings.note("d", [reading("a")])
    found = readings.all()
    assert set(found) == {"a", "b"}
    assert (found["a"].taken_s, found["a"].pause_s, found["b"].pause_s) == (5.0, 4.0, None)
    assert patience_s(None, found["a"]) == 12.0
    assert patience_s(2_000, found["a"]) == 6.0
    assert patience_s(None, found["b"]) is None
    readings.keep_only({"b"})
    assert set(readings.all()) == {"b"}


def test_silence_is_three_cadences_and_ten_seconds_at_least() -> None:
    offers = [offer("fast", 1_000), offer("slow", 60_000), offer("event", None), offer("never", 1_000)]
    heard = {"fast": last("fast", 100.0), "slow": last("slow", 100.0), "event": last("event", 0.0)}

    def silent(now_s: float, since_s: float = 0.0) -> list[str]:
        return silent_meters(offers, heard, since_s=since_s, now_s=now_s)

    assert silent(109.0) == ["never"]
    assert silent(111.0) == ["fast", "never"]
    assert silent(281.0) == ["fast", "slow", "never"]
    assert silent(281.0, since_s=275.0) == []
