"""What the maths of registers takes: readings and rules as columns, and the facts that people added to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from schemas.events import Decision, EventKind
from schemas.quantities import SCALE
from schemas.resources import MeterKind, Quality

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HOUR_MS = 3_600_000.0
NEVER = -(2**62)
"""Before all instants."""
_WIDEST = 9e9
"""Canonical units: no register that can be stored is wider."""


class KindCode(IntEnum):
    """`MeterKind` as a number, for arrays."""

    COUNTER = 0
    INTERVAL = 1
    RATE = 2

    @classmethod
    def of(cls, kind: MeterKind | str) -> KindCode:
        return cls[MeterKind(kind).name]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRules:
    """How each meter's readings are judged and turned into consumption; arrays of one entry a meter.

    `to_canonical`: canonical units per unit (for a rate per unit and hour). `max_gap_ms`: the longest silence that is
    still measured. `interval_ms`: the span that an interval reading covers, ending at its instant. `width`: where a
    register begins again, in billionths of the canonical unit; 0: not known. `rated`: the most that the meter can
    count, in billionths an hour; infinite: not known. `dip_window_ms`: how long a register may stay below its old value
    and still be believed to come back. `frozen_after_ms`: how long it may stand still; 0: for ever.
    """

    kind: NDArray[np.int8]
    to_canonical: Floats
    max_gap_ms: Ints
    interval_ms: Ints
    width: Ints
    rated: Floats
    dip_window_ms: Ints
    frozen_after_ms: Ints

    def select(self, meters: Ints) -> MeterRules:
        """The rules of these meters, in this order."""
        return MeterRules(**{name: getattr(self, name)[meters] for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingTable:
    """Readings sorted by meter and instant, none twice. `meter` points into the rules; `at` is Unix milliseconds."""

    meter: Ints
    at: Ints
    value: Floats
    quality: NDArray[np.int16]

    def select(self, rows: Ints | Bools) -> ReadingTable:
        """These rows, in this order."""
        return ReadingTable(
            meter=self.meter[rows], at=self.at[rows], value=self.value[rows], quality=self.quality[rows]
        )

    def alone(self, meter: int) -> ReadingTable:
        """The rows of one meter, which is 0 there."""
        begin, end = np.searchsorted(self.meter, meter, "left"), np.searchsorted(self.meter, meter, "right")
        own = self.select(np.arange(begin, end))
        return replace(own, meter=np.zeros(len(own.at), dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """At `at` (Unix milliseconds) one device took the place of another; registers in the meter's unit.

    Readings from `at` on are the new one's.
    """

    meter: int
    at: int
    last_old: float
    first_new: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a person decided about the event of that kind whose readings stand from `at` to `until`."""

    meter: int
    kind: EventKind
    at: int
    until: int
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What people recorded of these meters; `meter` points into the rules."""

    exchanges: Sequence[Exchange] = ()
    told: Sequence[Told] = ()

    def alone(self, meter: int) -> Facts:
        """Those of one meter, which is 0 there."""
        return Facts(
            exchanges=[replace(exchange, meter=0) for exchange in self.exchanges if exchange.meter == meter],
            told=[replace(told, meter=0) for told in self.told if told.meter == meter],
        )


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something found. Instants are Unix milliseconds, values in the meter's unit, `quantity` in billionths.

    `at` and `until` are the first and the last reading that it is about (of a gap or an exchange: its beginning and
    end), `before` and `after` their neighbours among the readings that count, as (instant, value).
    """

    meter: int
    kind: EventKind
    decision: Decision
    at: int
    until: int
    readings: int
    value: float | None = None
    until_value: float | None = None
    before: tuple[int, float] | None = None
    after: tuple[int, float] | None = None
    quantity: int | None = None


def make_rules(
    *,
    kind: NDArray[np.int8],
    to_canonical: Floats,
    max_gap_ms: Floats,
    interval_ms: Floats,
    register_width: Floats,
    rated_maximum: Floats,
    dip_window_ms: Floats,
    frozen_after_ms: Floats,
) -> MeterRules:
    """Rules from what the site model says; width and maximum in the meter's unit, 0 and infinite where not known."""
    return MeterRules(
        kind=kind,
        to_canonical=to_canonical,
        max_gap_ms=max_gap_ms.astype(np.int64),
        interval_ms=interval_ms.astype(np.int64),
        width=np.rint(np.minimum(register_width * to_canonical, _WIDEST) * SCALE).astype(np.int64),
        rated=rated_maximum * to_canonical * SCALE,
        dip_window_ms=dip_window_ms.astype(np.int64),
        frozen_after_ms=frozen_after_ms.astype(np.int64),
    )


def billionths(canonical: Floats) -> Ints:
    """Canonical units as whole billionths. The whole part is scaled apart, as a large product would lose digits."""
    whole = np.floor(canonical)
    return np.asarray(whole.astype(np.int64) * SCALE + np.rint((canonical - whole) * SCALE).astype(np.int64))


def is_doubtful(quality: NDArray[np.int16]) -> Bools:
    """Whether the source itself does not vouch for the value."""
    return np.asarray((quality != Quality.GOOD) & (quality != Quality.MANUAL), dtype=np.bool_)
