"""Alerts come and go with their conditions, and are told without a storm."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from api.alerts.messages import message_of
from api.alerts.plan import Due, KnownAlert, Policy, batches, due, reconcile
from api.alerts.rules import Condition, conditions
from api.quality.finding import Finding
from api.site_store import SiteRow
from schemas.alerts import AlertChange, AlertMessage, AlertRule
from schemas.findings import FindingKind

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICY = Policy(per_hour=3)


def condition(meter="power", rule=AlertRule.SILENT, since=NOW) -> Condition:
    return Condition(rule=rule, meter=meter, agent=None, since=since, seen="It is silent.", why="w", todo="t")


def alert(number=1, meter="power", rule=AlertRule.SILENT, **changes) -> KnownAlert:
    return replace(
        KnownAlert(
            id=number,
            rule=rule,
            meter=meter,
            agent=None,
            since=NOW - HOUR,
            seen="It is silent.",
            why="w",
            todo="t",
            seen_at=NOW,
        ),
        **changes,
    )


def finding(kind, end=None, start=NOW - HOUR, meter="power", agent=None) -> Finding:
    return Finding(kind=kind, start=start, end=end, seen="s", todo="t", meter=meter, agent=agent)


# Rules


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (FindingKind.SILENT, AlertRule.SILENT),
        (FindingKind.AGENT_OFFLINE, AlertRule.SILENT),
        (FindingKind.AGENT_SILENT, AlertRule.SILENT),
        (FindingKind.LEAK, AlertRule.LEAK),
        (FindingKind.NEGATIVE_REST, AlertRule.NEGATIVE_REST),
        (FindingKind.SPIKE, AlertRule.SPIKE),
        (FindingKind.GAP, None),
        (FindingKind.COVERAGE, None),
        (FindingKind.UNKNOWN_METER, None),
    ],
)
def test_few_findings_are_alerts(kind, rule):
    assert [c.rule for c in conditions([finding(kind)], now=NOW)] == ([rule] if rule else [])


def test_what_is_over_holds_no_more():
    spike, rest = FindingKind.SPIKE, FindingKind.NEGATIVE_REST
    assert len(conditions([finding(spike, end=NOW - 23 * HOUR), finding(rest, end=NOW - 23 * HOUR)], now=NOW)) == 2
    assert conditions([finding(spike, end=NOW - 25 * HOUR), finding(rest, end=NOW - 25 * HOUR)], now=NOW) == []
    assert conditions([finding(FindingKind.LEAK, end=NOW - HOUR)], now=NOW) == []


def test_several_findings_of_a_rule_and_meter_are_one_condition_since_the_first():
    spikes = [finding(FindingKind.SPIKE, start=NOW - hours * HOUR, end=NOW - hours * HOUR) for hours in (1, 5, 3)]
    (one,) = conditions(spikes, now=NOW)
    assert one.since == NOW - 5 * HOUR


# One alert a condition


def test_a_new_condition_opens_and_a_known_one_goes_on():
    changes = reconcile([alert(7)], [condition(), condition("water")], now=NOW, policy=POLICY)
    assert [c.meter for c in changes.opened] == ["water"]
    assert [(number, c.meter) for number, c in changes.going_on] == [(7, "power")]
    assert changes.closed == []


def test_an_alert_closes_when_its_condition_has_been_gone_for_a_while():
    seen = NOW - 14 * MINUTE
    assert reconcile([alert(seen_at=seen)], [], now=NOW, policy=POLICY).closed == []
    assert reconcile([alert(seen_at=seen - MINUTE)], [], now=NOW, policy=POLICY).closed == [1]


def test_the_same_meter_under_another_rule_is_another_alert():
    changes = reconcile([alert()], [condition(rule=AlertRule.LEAK)], now=NOW, policy=POLICY)
    assert [c.rule for c in changes.opened] == [AlertRule.LEAK]


# What is told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, AlertChange.OPENED),
        ({"told_at": NOW - 23 * HOUR}, None),
        ({"told_at": NOW - DAY}, AlertChange.REMINDER),
        ({"told_at": NOW - DAY, "closed_at": NOW}, AlertChange.CLOSED),
        ({"closed_at": NOW}, AlertChange.CLOSED),
        ({"told_at": NOW, "closed_at": NOW, "end_told_at": NOW}, None),
        ({"acknowledged_at": NOW}, None),
        ({"acknowledged_at": NOW, "told_at": NOW - 9 * DAY}, None),
        ({"acknowledged_at": NOW, "closed_at": NOW}, None),
    ],
)
def test_an_alert_is_told_once_then_once_a_day_until_somebody_knows(changes, told):
    assert [one.change for one in due([alert(**changes)], now=NOW, policy=POLICY)] == ([told] if told else [])


def test_the_new_is_told_first():
    alerts = [alert(1, told_at=NOW - DAY), alert(2, closed_at=NOW), alert(3), alert(4, since=NOW - DAY)]
    assert [one.alert.id for one in due(alerts, now=NOW, policy=POLICY)] == [4, 3, 1, 2]


def some(count) -> list[Due]:
    return [Due(alert=alert(number), change=AlertChange.OPENED) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("count", "lately", "sizes"),
    [(0, 0, []), (3, 0, [1, 1, 1]), (4, 0, [1, 1, 2]), (50, 2, [50]), (1, 2, [1]), (5, 3, []), (5, 99, [])],
)
def test_what_an_hour_has_no_room_for_is_told_in_one_message(count, lately, sizes):
    found = batches(some(count), told_lately=lately, policy=POLICY)
    assert [len(batch) for batch in found] == sizes
    told = [one.alert.id for batch in found for one in batch]
    assert told == (list(range(1, count + 1)) if sizes else [])


# Messages

SITE = SiteRow(id=1, key="odense", name="Odense", time_zone="Europe/Copenhagen", organisation_id=1, organisation="acme")


def test_a_message_says_it_in_one_line_and_in_full():
    ended = Due(alert=alert(closed_at=NOW), change=AlertChange.CLOSED)
    message = message_of(SITE, [ended], number=UUID(int=5), now=NOW)
    assert message.text == "Odense: Over: It is silent."
    (told,) = message.alerts
    assert (told.change, told.until) == (AlertChange.CLOSED, 1_782_820_800_000)
    assert AlertMessage.model_validate_json(message.model_dump_json()) == message


def test_many_alerts_in_one_message_are_counted():
    batch = [*some(3), Due(alert=alert(9, told_at=NOW), change=AlertChange.REMINDER)]
    message = message_of(SITE, batch, number=UUID(int=5), now=NOW)
    assert message.text == "Odense: 4 alerts at once (3 new, 1 still open); the first: It is silent."
    assert [one.id for one in message.alerts] == [1, 2, 3, 9]
