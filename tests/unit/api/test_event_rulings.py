"""What a person may decide about an event, and what is refused with which advice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from api.event_rulings import Act, ruled
from api.problems import ProblemError
from api.said import Said
from schemas.events import DECISIONS, OVERRULED_BY, Decision, EventKind, EventState
from tests.unit.api.test_event_sentences import event


@pytest.mark.parametrize(("kind", "decision"), sorted(OVERRULED_BY))
def test_overruling_does_the_other_thing(kind, decision):
    other = OVERRULED_BY[(kind, decision)]
    assert ruled(event(kind, decision), Act.OVERRULE, None) == (EventState.OVERRULED, other)
    assert other in DECISIONS[kind]


@pytest.mark.parametrize("kind", list(EventKind))
def test_confirming_pins_what_is_done(kind):
    decision = DECISIONS[kind][0]
    found = replace(event(kind, decision), register_width=100.0)
    assert ruled(found, Act.CONFIRM, None) == (EventState.CONFIRMED, decision)
    assert ruled(found, Act.CONFIRM, decision) == (EventState.CONFIRMED, decision)


def test_reopening_gives_it_back():
    found = replace(event(EventKind.DIP, Decision.RESET), state=EventState.OVERRULED)
    assert ruled(found, Act.REOPEN, None) == (EventState.PROPOSED, None)


OVERRULED = replace(event(EventKind.SPIKE, Decision.COUNT), state=EventState.OVERRULED)


@pytest.mark.parametrize(
    ("found", "act", "decision", "status", "words"),
    [
        (
            event(EventKind.SPIKE, Decision.SET_ASIDE),
            Act.OVERRULE,
            Decision.ROLLOVER,
            422,
            "one of these can be decided",
        ),
        (event(EventKind.GAP, Decision.COUNT), Act.CONFIRM, Decision.SET_ASIDE, 422, "count, restart"),
        (event(EventKind.DIP, Decision.SET_ASIDE), Act.OVERRULE, Decision.UNDECIDED, 422, "one of these"),
        (event(EventKind.RESET, Decision.RESET), Act.OVERRULE, Decision.ROLLOVER, 409, "register_width"),
        (event(EventKind.ROLLOVER, Decision.ROLLOVER), Act.CONFIRM, None, 409, "register_width"),
        (event(EventKind.DIP, Decision.SET_ASIDE), Act.OVERRULE, Decision.SET_ASIDE, 409, "already"),
        (event(EventKind.DIP, Decision.SET_ASIDE), Act.CONFIRM, Decision.RESET, 409, "overrule it"),
        (event(EventKind.DIP, Decision.UNDECIDED), Act.CONFIRM, None, 422, "could not tell yet"),
        (event(EventKind.EXCHANGE, Decision.COUNT), Act.OVERRULE, None, 409, "withdraw the record"),
        (event(EventKind.SPIKE, Decision.SET_ASIDE), Act.REOPEN, None, 409, "nothing to take back"),
        (OVERRULED, Act.REOPEN, Decision.COUNT, 422, "leave it out"),
        (OVERRULED, Act.CONFIRM, None, 409, "reopen it first"),
        (OVERRULED, Act.OVERRULE, None, 422, "say what instead, one of: set_aside, restart"),
        (event(EventKind.SPIKE, None, applied=None), Act.CONFIRM, None, 409, "set readings aside anew"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(found, act, decision, status, words):
    with pytest.raises(ProblemError, match=words) as refused:
        ruled(found, act, decision)
    assert refused.value.problem.status == status


def test_an_undecided_event_may_be_decided_by_a_person():
    found = event(EventKind.DIP, Decision.UNDECIDED)
    assert ruled(found, Act.CONFIRM, Decision.SET_ASIDE) == (EventState.CONFIRMED, Decision.SET_ASIDE)
    assert ruled(found, Act.OVERRULE, None) == (EventState.OVERRULED, Decision.RESET)


class TestSaid:
    def test_margins_are_cut(self):
        assert Said(author=" Anna ", reason="\tread the dial ").author == "Anna"

    @pytest.mark.parametrize("text", ["", "   ", "…", "two\nlines", "nul\0", "x" * 201, "half \ud800", None, 7])
    @pytest.mark.parametrize("field", ["author", "reason"])
    def test_what_says_nothing_is_refused(self, field, text):
        with pytest.raises(ValidationError):
            Said.model_validate({"author": "Anna", "reason": "read the dial", field: text})
