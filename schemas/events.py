"""Meter events: what was found in a meter's readings, what was done about it, and what a person said of it.

An event is derived from readings, like consumption, and comes out again when all is computed anew. What a person
decides about it is kept apart, as a fact, and is never lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """What was found [METHODS §1]."""

    EXCHANGE = "exchange"
    ROLLOVER = "rollover"
    DIP = "dip"
    RESET = "reset"
    SPIKE = "spike"
    FROZEN = "frozen"
    GAP = "gap"
    EXPORT = "export"


class Decision(StrEnum):
    """What is done with the readings of an event, by the rules or by a person.

    `count`: they stand as they are. `set_aside`: they are passed over, as if they had not come. `reset`: the register
    began again at zero, and what it shows since then counts. `rollover`: it passed its width and went on from zero.
    `restart`: it goes on from its new value, and what lies before that is unknown. `undecided`: set aside until later
    readings tell.
    """

    COUNT = "count"
    SET_ASIDE = "set_aside"
    RESET = "reset"
    ROLLOVER = "rollover"
    RESTART = "restart"
    UNDECIDED = "undecided"


class EventState(StrEnum):
    """`proposed`: by the rules alone. `confirmed`, `overruled`: a person looked at it."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    OVERRULED = "overruled"


DECISIONS: dict[EventKind, tuple[Decision, ...]] = {
    EventKind.EXCHANGE: (Decision.COUNT,),
    EventKind.ROLLOVER: (Decision.ROLLOVER, Decision.RESET, Decision.RESTART, Decision.SET_ASIDE),
    EventKind.DIP: (Decision.SET_ASIDE, Decision.RESET, Decision.RESTART, Decision.ROLLOVER),
    EventKind.RESET: (Decision.RESET, Decision.RESTART, Decision.ROLLOVER, Decision.SET_ASIDE),
    EventKind.SPIKE: (Decision.SET_ASIDE, Decision.COUNT, Decision.RESTART),
    EventKind.FROZEN: (Decision.COUNT, Decision.SET_ASIDE),
    EventKind.GAP: (Decision.COUNT, Decision.RESTART),
    EventKind.EXPORT: (Decision.COUNT, Decision.SET_ASIDE),
}
"""What can be decided about each kind. Where `rollover` is chosen, the meter's register width must be known."""

OVERRULED_BY: dict[tuple[EventKind, Decision], Decision] = {
    (EventKind.ROLLOVER, Decision.ROLLOVER): Decision.RESET,
    (EventKind.DIP, Decision.SET_ASIDE): Decision.RESET,
    (EventKind.DIP, Decision.UNDECIDED): Decision.RESET,
    (EventKind.RESET, Decision.RESET): Decision.RESTART,
    (EventKind.RESET, Decision.RESTART): Decision.RESET,
    (EventKind.SPIKE, Decision.SET_ASIDE): Decision.COUNT,
    (EventKind.SPIKE, Decision.RESTART): Decision.COUNT,
    (EventKind.SPIKE, Decision.UNDECIDED): Decision.COUNT,
    (EventKind.FROZEN, Decision.COUNT): Decision.SET_ASIDE,
    (EventKind.GAP, Decision.COUNT): Decision.RESTART,
    (EventKind.EXPORT, Decision.COUNT): Decision.SET_ASIDE,
}
"""What an event becomes when it is overruled without saying what else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKey:
    """Which event: its meter, its kind, and the first reading that it is about (Unix milliseconds)."""

    meter: str
    kind: EventKind
    at_ms: int

    def __str__(self) -> str:
        return f"{self.meter}:{self.kind}:{self.at_ms}"

    @classmethod
    def parse(cls, text: str) -> EventKey:
        """From `meter:kind:milliseconds`. Raises ValueError that says what is expected."""
        parts = text.split(":")
        if len(parts) != 3 or not parts[0] or parts[1] not in set(EventKind) or not parts[2].lstrip("-").isdecimal():
            raise ValueError(f"{text!r} is not an event; write meter:kind:milliseconds, as the list of events shows it")
        return cls(meter=parts[0], kind=EventKind(parts[1]), at_ms=int(parts[2]))
