"""What a technician reads of an event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api.event_sentences import tell_event
from api.event_store import Event
from api.indicators.wording import Text
from schemas.events import DECISIONS, Decision, EventKind, EventState

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Copenhagen")


def event(kind, decision, **values) -> Event:
    applied = values.pop("applied", decision)
    found = {
        "meter_id": 1,
        "meter": "main",
        "meter_kind": "counter",
        "unit": "kWh",
        "canonical_unit": "kWh",
        "register_width": None,
        "at": AT,
        "until": AT,
        "state": EventState.PROPOSED,
        "readings": 1,
        **values,
    }
    return Event(kind=kind, decision=decision, applied=applied, **found)


def told(kind, decision, **values) -> Text:
    return tell_event(event(kind, decision, **values), ZONE)


FALL = {"before_value": 1010.0, "value": 2.0}


@pytest.mark.parametrize(
    ("kind", "decision", "values", "en"),
    [
        (
            EventKind.RESET,
            Decision.RESET,
            {**FALL, "quantity": 2_000_000_000},
            "2026-03-02 10:00: The register fell from 1010 kWh to 2 kWh and stayed low. It is taken to have begun again"
            " at zero: what it shows since then counts, and what it counted just before is unknown. 2 kWh counts for"
            " it.",
        ),
        (
            EventKind.DIP,
            Decision.SET_ASIDE,
            {**FALL, "until": AT + timedelta(seconds=40), "readings": 5, "after_value": 1011.25},
            "2026-03-02 10:00 to 2026-03-02 10:00:40: The register fell from 1010 kWh to 2 kWh and came back to"
            " 1011.25 kWh (5 readings). These readings are set aside, as if they had not come.",
        ),
        (
            EventKind.ROLLOVER,
            Decision.ROLLOVER,
            {"before_value": 99998.0, "value": 3.0, "quantity": 5_000_000_000},
            "2026-03-02 10:00: The register passed its width from 99998 kWh to 3 kWh. It is taken to have passed its"
            " width and gone on from zero. 5 kWh counts for it.",
        ),
        (
            EventKind.GAP,
            Decision.COUNT,
            {"until": AT + timedelta(hours=3), "value": 10.0, "until_value": 14.5, "quantity": 4_500_000_000},
            "2026-03-02 10:00 to 2026-03-02 13:00: Nothing was heard of the meter; the register went from 10 kWh to"
            " 14.5 kWh. The total is kept, spread evenly over that time and marked estimated. 4.5 kWh counts for it.",
        ),
        (
            EventKind.GAP,
            Decision.COUNT,
            {"until": AT + timedelta(hours=3), "meter_kind": "rate", "unit": "kW", "value": 10.0, "until_value": 14.5},
            "2026-03-02 10:00 to 2026-03-02 13:00: Nothing was heard of the meter. The consumption of that time is"
            " unknown.",
        ),
        (
            EventKind.EXPORT,
            Decision.COUNT,
            {"meter_kind": "rate", "unit": "kW", "value": -3.2},
            "2026-03-02 10:00: The value was below zero, at first -3.2 kW. They count as negative consumption.",
        ),
        (
            EventKind.SPIKE,
            Decision.UNDECIDED,
            {"before_value": 10.0, "value": 1e9},
            "2026-03-02 10:00: The register jumped from 10 kWh to 1000000000 kWh. These readings are set aside until"
            " later ones tell what it was.",
        ),
        (
            EventKind.EXCHANGE,
            Decision.COUNT,
            {"value": 1010.0, "until_value": 0.5, "quantity": 123},
            "2026-03-02 10:00: The meter was exchanged: the old one ended at 1010 kWh, the new one began at 0.5 kWh."
            " Readings from then on are the new meter's. 0.000000123 kWh counts for it.",
        ),
    ],
)
def test_what_is_told(kind, decision, values, en):
    assert told(kind, decision, **values).en == en


def test_danish_has_its_own_words_and_commas():
    assert told(EventKind.FROZEN, Decision.SET_ASIDE, value=10.5, until=AT + timedelta(hours=8)).da == (
        "2026-03-02 10:00 til 2026-03-02 18:00: Tælleværket stod stille på 10,5 kWh (1 aflæsninger). Det regnes ikke"
        " for rigtigt; forbruget i den tid er ukendt."
    )


def test_what_only_a_person_found_wrong_is_no_jump():
    values = {
        "before_value": 9.0,
        "value": 10.0,
        "until_value": 12.0,
        "after_value": 13.0,
        "until": AT + timedelta(hours=1),
    }
    told_so = told(EventKind.SPIKE, Decision.SET_ASIDE, state=EventState.CONFIRMED, readings=7, **values).en
    assert "The register showed 10 kWh to 12 kWh, which a person holds to be wrong (7 readings)." in told_so
    jump = {**values, "value": 100.0, "until_value": 100.0}
    assert "jumped" in told(EventKind.SPIKE, Decision.SET_ASIDE, state=EventState.CONFIRMED, **jump).en


def test_what_counted_under_another_decision_is_not_told():
    values = {**FALL, "quantity": 2_000_000_000}
    assert "2 kWh counts" in told(EventKind.RESET, Decision.RESET, **values).en
    overruled = told(EventKind.RESET, Decision.RESTART, applied=Decision.RESET, **values).en
    assert overruled.endswith("what was used just before that is unknown.")


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_decision_has_a_sentence_even_without_any_value(kind):
    for decision in {*DECISIONS[kind], Decision.UNDECIDED}:
        text = told(kind, decision, applied=None, readings=None)
        assert "None" not in text.en + text.da
        assert text.en.endswith(".")
        assert text.en != text.da


@pytest.mark.parametrize("kind", list(EventKind))
def test_what_was_taken_back_is_told_so(kind):
    text = told(kind, None, applied=None, readings=None)
    assert "taken back" in text.en
    assert "taget tilbage" in text.da
