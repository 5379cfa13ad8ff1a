"""What stands out, and above all what does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api.quality.cadence import cadence_of, is_silent, silent_after
from api.quality.facts import (
    AgentFacts,
    CadenceFrom,
    LedgerFacts,
    MeterFacts,
    NegativeRest,
    OpenEvent,
    QuarantineFacts,
    SiteFacts,
    UnknownMeter,
)
from api.quality.finding import Finding
from api.quality.findings import find
from schemas.events import EventKind
from schemas.findings import FindingKind
from schemas.quarantine import Reason
from schemas.resources import MeterKind, Resource

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = NOW - 30 * DAY


def meter(key="power", **changes) -> MeterFacts:
    """One that has nothing wrong with it."""
    return replace(
        MeterFacts(
            meter=key,
            name=key,
            agent="cabinet",
            resource=Resource.ENERGY,
            kind=MeterKind.COUNTER,
            unit="kWh",
            max_gap_ms=1_800_000,
            usable_days=29,
            began=START,
            seen_ms=10_000.0,
            last_at=NOW - MINUTE,
        ),
        **changes,
    )


def site(*meters, **changes) -> SiteFacts:
    return replace(
        SiteFacts(
            start=START,
            end=NOW,
            known_to=NOW,
            zone=ZoneInfo("Europe/Copenhagen"),
            first_day=date(2026, 6, 1),
            end_day=date(2026, 6, 30),
            meters=meters or (meter(),),
        ),
        **changes,
    )


def kinds(facts) -> list[tuple[FindingKind, str | None, str | None]]:
    return [(finding.kind, finding.meter, finding.agent) for finding in find(facts, now=NOW)]


def test_what_is_fine_is_no_finding():
    agents = [AgentFacts(agent="cabinet", heard_at=NOW - MINUTE, clock_ahead_ms=-900)]
    assert kinds(site(agents=agents)) == []


# Cadence and silence


def test_a_cadence_is_set_or_the_interval_or_learnt():
    assert cadence_of(meter(cadence_ms=60_000, interval_ms=900_000)).source is CadenceFrom.SET
    assert cadence_of(meter(interval_ms=900_000)).source is CadenceFrom.INTERVAL
    learnt = cadence_of(meter())
    assert (learnt.expected_ms, learnt.source, learnt.is_kept) == (10_000.0, CadenceFrom.LEARNT, None)
    assert cadence_of(meter(seen_ms=None, gap_ms=86_400_000.0)).expected_ms == 86_400_000.0
    unknown = cadence_of(meter(seen_ms=None))
    assert (unknown.expected_ms, unknown.source) == (None, None)


@pytest.mark.parametrize(("seen_ms", "kept"), [(10_000.0, True), (15_000.0, True), (15_001.0, False), (None, None)])
def test_a_cadence_that_is_set_can_be_broken(seen_ms, kept):
    found = meter(cadence_ms=10_000, seen_ms=seen_ms)
    assert cadence_of(found).is_kept is kept
    assert [f.kind for f in find(site(found), now=NOW)] == ([FindingKind.CADENCE] if kept is False else [])


def test_silence_is_longer_than_the_largest_gap_or_three_times_the_cadence():
    assert silent_after(meter()) == 30 * MINUTE
    assert silent_after(meter(cadence_ms=900_000)) == 45 * MINUTE
    assert not is_silent(meter(last_at=NOW - 30 * MINUTE), NOW)
    assert is_silent(meter(last_at=NOW - 31 * MINUTE), NOW)


def test_a_meter_that_is_read_once_a_month_is_not_silent_after_forty_days():
    monthly = meter(seen_ms=None, gap_ms=30 * 86_400_000.0, last_at=None)
    assert not is_silent(monthly, NOW)
    assert is_silent(replace(monthly, gap_ms=None), NOW)


def test_one_silent_meter_is_told_by_itself():
    last = NOW - 5 * HOUR
    (finding,) = find(site(meter(), meter("water", last_at=last)), now=NOW)
    assert (finding.kind, finding.meter, finding.start, finding.end) == (FindingKind.SILENT, "water", last, None)
    assert "2026-06-30 09:00 (5 hours)" in finding.seen


def test_meters_of_one_agent_that_fall_silent_together_are_one_finding():
    last = NOW - 5 * HOUR
    three = [meter(key, last_at=last + i * MINUTE) for i, key in enumerate("abc")]
    assert kinds(site(meter(), *three)) == [(FindingKind.AGENT_SILENT, None, "cabinet")]
    # Two of three are not enough, and hours apart is not together.
    assert len(kinds(site(meter(), *three[:2]))) == 2
    apart = [meter(key, last_at=last + i * HOUR) for i, key in enumerate("abc")]
    assert [kind for kind, _, _ in kinds(site(meter(), *apart))] == [FindingKind.SILENT] * 3


def test_all_meters_that_were_never_heard_are_one_finding():
    never = [meter(key, last_at=None, began=None) for key in "ab"]
    (finding,) = find(site(*never), now=NOW)
    assert (finding.kind, finding.count) == (FindingKind.AGENT_SILENT, 2)
    assert "30 days" in finding.seen


@pytest.mark.parametrize(("minutes", "found"), [(10, []), (40, [(FindingKind.AGENT_OFFLINE, None, "cabinet")])])
def test_an_agent_that_is_gone_stands_for_its_silent_meters(minutes, found):
    gone = NOW - minutes * MINUTE
    meters = [meter(key, last_at=gone) for key in "ab"]
    assert kinds(site(*meters, agents=[AgentFacts(agent="cabinet", is_offline=True, heard_at=gone)])) == found


def test_a_meter_that_was_silent_before_its_agent_went_is_told_as_well():
    gone = NOW - 2 * HOUR
    meters = [meter("a", last_at=gone), meter("b", last_at=NOW - 9 * DAY)]
    agents = [AgentFacts(agent="cabinet", is_offline=True, heard_at=gone)]
    assert kinds(site(*meters, agents=agents)) == [
        (FindingKind.SILENT, "b", None),
        (FindingKind.AGENT_OFFLINE, None, "cabinet"),
    ]


def test_a_period_of_the_past_tells_nothing_of_today():
    agents = [
        AgentFacts(agent="cabinet", is_offline=True, heard_at=NOW - HOUR, clock_ahead_ms=999_999),
        AgentFacts(agent="other", heard_at=NOW - HOUR, clock_ahead_ms=999_999),
    ]
    silent = meter(last_at=NOW - HOUR, cadence_ms=1)
    assert kinds(site(silent, agents=agents, end=NOW - 9 * DAY, known_to=NOW - 9 * DAY)) == []


# Agents


@pytest.mark.parametrize(("ahead_ms", "words"), [(60_000, None), (61_000, "ahead of"), (-90_000, "behind")])
def test_a_clock_that_is_wrong_by_more_than_a_minute(ahead_ms, words):
    agents = [AgentFacts(agent="cabinet", heard_at=NOW - MINUTE, clock_ahead_ms=ahead_ms)]
    found = find(site(agents=agents), now=NOW)
    assert [f.kind for f in found] == ([FindingKind.CLOCK_SKEW] if words else [])
    assert words is None or words in found[0].seen


@pytest.mark.parametrize(("ahead_ms", "found"), [(90_000, [FindingKind.CLOCK_SKEW]), (-90_000, [])])
def test_what_an_agent_that_is_gone_said_last_may_have_waited_for_us(ahead_ms, found):
    agents = [AgentFacts(agent="cabinet", is_offline=True, heard_at=NOW - MINUTE, clock_ahead_ms=ahead_ms)]
    assert [kind for kind, _, _ in kinds(site(agents=agents))] == found


def test_an_unknown_meter_stands_for_its_readings_in_quarantine():
    entry = QuarantineFacts(
        agent="cabinet",
        reason=Reason.UNKNOWN_METER,
        messages=4,
        readings=9,
        first_at=NOW - HOUR,
        last_at=NOW,
        detail="d",
    )
    unknown = AgentFacts(agent="cabinet", unknown=[UnknownMeter(meter="paint", readings=9, first_at=NOW - HOUR)])
    assert kinds(site(agents=[unknown], quarantine=[entry])) == [(FindingKind.UNKNOWN_METER, "paint", "cabinet")]
    assert kinds(site(quarantine=[entry])) == [(FindingKind.QUARANTINE, None, "cabinet")]
    other = replace(entry, reason=Reason.WRONG_UNIT)
    assert len(kinds(site(agents=[unknown], quarantine=[entry, other]))) == 2


def test_a_hole_in_the_ledger_has_time_to_close():
    entry = LedgerFacts(agent="cabinet", epoch="e1", missing=3, first_seq=11, last_at=NOW - 10 * MINUTE)
    assert kinds(site(ledger=[entry])) == []
    assert kinds(site(ledger=[replace(entry, last_at=NOW - HOUR)])) == [
        (FindingKind.LEDGER_INCOMPLETE, None, "cabinet")
    ]


def test_readings_that_an_agent_gave_up():
    agents = [AgentFacts(agent="cabinet", heard_at=NOW - MINUTE, dropped=12)]
    (finding,) = find(site(agents=agents), now=NOW)
    assert (finding.kind, finding.count) == (FindingKind.READINGS_DROPPED, 12)


# Coverage, balance and events


@pytest.mark.parametrize(("usable", "found"), [(27, 0), (26, 1)])
def test_a_period_is_usable_with_nine_days_in_ten(usable, found):
    assert len(kinds(site(meter(usable_days=usable)))) == found


def test_days_before_a_meter_was_there_are_not_held_against_it():
    began = NOW - 3 * DAY
    assert kinds(site(meter(usable_days=2, began=began))) == []
    assert kinds(site(meter(usable_days=1, began=began))) == [(FindingKind.COVERAGE, "power", None)]


def test_a_negative_rest_names_the_parts():
    rest = NegativeRest(meter="main", parts=["a", "b"], start=START, end=START + DAY, excess=12.5, unit="kWh")
    (finding,) = find(site(rests=[rest]), now=NOW)
    assert (finding.kind, finding.meter) == (FindingKind.NEGATIVE_REST, "main")
    assert "(a, b) counted 12.5 kWh more than main" in finding.seen


def event(number, kind=EventKind.SPIKE) -> OpenEvent:
    at = START + number * HOUR
    return OpenEvent(key=f"power:{kind}:{number}", meter="power", kind=kind, at=at, until=at, sentence="It jumped.")


def test_each_open_event_is_a_finding_that_says_how_to_decide():
    found = find(site(events=[event(2), event(1, EventKind.GAP)]), now=NOW)
    assert [(f.kind, f.event) for f in found] == [
        (FindingKind.GAP, "power:gap:1"),
        (FindingKind.SPIKE, "power:spike:2"),
    ]
    assert "afkobling events confirm power:spike:2" in found[1].todo
    assert found[1].seen == "power: It jumped."


def test_very_many_events_of_a_meter_are_one_finding():
    (finding,) = find(site(events=[event(number) for number in range(21)]), now=NOW)
    assert (finding.kind, finding.count, finding.start) == (FindingKind.SPIKE, 21, START)
    assert finding.end == START + 20 * HOUR


@pytest.mark.parametrize("kind", FindingKind)
def test_every_kind_of_finding_says_why_it_matters(kind):
    assert Finding(kind=kind, start=START, end=None, seen="", todo="").why.endswith(".")
