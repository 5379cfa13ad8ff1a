"""The factory that goes through chaos: four agents, each with a weakness of its own, and its meters. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.resources import MeterKind
from schemas.site import Agent, Line, Meter, Organisation, Site, SiteModel

STEP_MS = 60_000
"""Of the fast clock: what is read at each tick lies so far apart."""
BURST_STEP_MS = 100
SITE = "hall"
_BILLION = 1_000_000_000
_THOUSANDTHS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosMeter:
    """`is_burst`: read in bursts only, many instants at once. `per_canonical`: how many of its unit make one."""

    key: str
    agent: str
    unit: str
    kind: MeterKind
    resource: str = "energy"
    carrier: str | None = None
    is_burst: bool = False
    per_canonical: int = 1

    @property
    def model(self) -> Meter:
        """As the site model has it."""
        described = {
            "id": self.key,
            "agent": self.agent,
            "resource": self.resource,
            "unit": self.unit,
            "kind": self.kind,
            "max_gap": "10min",
        }
        if self.carrier:
            described["carrier"] = self.carrier
        if self.kind is MeterKind.INTERVAL:
            described["interval"] = "1min"
        return Meter.model_validate(described)


CABINET, BOILER, PRESS, CLOCK = "cabinet", "boiler", "press", "clock"
"""The disk of the first gets full, the outboxes of the next two (one stops reading, one drops the oldest), and the
last one's clock goes wrong."""
AGENTS = (CABINET, BOILER, PRESS, CLOCK)
METERS = (
    ChaosMeter(key="power", agent=CABINET, unit="kWh", kind=MeterKind.COUNTER),
    ChaosMeter(
        key="water", agent=CABINET, unit="l", kind=MeterKind.COUNTER, resource="water", per_canonical=_THOUSANDTHS
    ),
    ChaosMeter(key="heat", agent=BOILER, unit="Wh", kind=MeterKind.COUNTER, per_canonical=_THOUSANDTHS),
    ChaosMeter(key="steam", agent=BOILER, unit="kWh", kind=MeterKind.COUNTER, is_burst=True),
    ChaosMeter(
        key="pieces", agent=PRESS, unit="pcs", kind=MeterKind.COUNTER, resource="production", carrier="good"
    ),
    ChaosMeter(key="strokes", agent=PRESS, unit="kWh", kind=MeterKind.COUNTER, is_burst=True),
    # Whose clock is set back can't tell what a register did when: these count by themselves.
    ChaosMeter(key="gas", agent=CLOCK, unit="kWh", kind=MeterKind.INTERVAL),
    ChaosMeter(key="draught", agent=CLOCK, unit="kW", kind=MeterKind.RATE),
)  # fmt: skip
BY_KEY: Mapping[str, ChaosMeter] = {meter.key: meter for meter in METERS}


def meters_of(agent: str, *, is_burst: bool = False) -> list[ChaosMeter]:
    """What it reads at each tick, or in bursts."""
    return [meter for meter in METERS if meter.agent == agent and meter.is_burst is is_burst]


def advance(meter: ChaosMeter, register: int, rng: random.Random) -> int:
    """What it says next, in thousandths, after `register`: more or as much as before, or for itself."""
    if meter.is_burst:
        return register + rng.randrange(3)
    amount = rng.randrange(4_000) * rng.randrange(2)
    if meter.kind is not MeterKind.COUNTER:
        return amount
    # Small units are counted whole: the store keeps billionths of the canonical one.
    return register + (amount if meter.unit == "kWh" else amount // _THOUSANDTHS * _THOUSANDTHS)


def value_of(thousandths: int) -> float:
    """As the driver hands it over."""
    return thousandths / _THOUSANDTHS


def consumption_of(key: str, stored: Sequence[tuple[int, float]]) -> int | None:
    """What these readings (instant, value), in order of time, come to in whole billionths of the canonical unit.

    Of a counter its last less its first, of an interval meter their sum; None for a rate, which counts nothing itself.
    """
    meter = BY_KEY[key]
    if meter.kind is MeterKind.RATE or not stored:
        return None
    values = [round(value * _THOUSANDTHS) for _, value in stored]
    counted = values[-1] - values[0] if meter.kind is MeterKind.COUNTER else sum(values)
    return counted * (_BILLION // _THOUSANDTHS) // meter.per_canonical


def site_model(organisation: str) -> SiteModel:
    """A site with these agents and meters."""
    return SiteModel(
        organisation=Organisation(id=organisation),
        site=Site(id=SITE, time_zone="Europe/Copenhagen"),
        lines=[Line(id="press")],
        agents=[Agent(id=agent) for agent in AGENTS],
        meters=[meter.model for meter in METERS],
    )
