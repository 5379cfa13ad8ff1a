"""What an attribution comes to: parts of what meters counted, each at its place, and what they were shared out of."""

from __future__ import annotations

from dataclasses import dataclass

from api.indicators.carbon import Carbon
from api.indicators.flows import Amount, Finding
from api.indicators.lines import Grid, Phase, Slot
from api.indicators.sharing import Rule
from schemas.carriers import Scope
from schemas.resources import Resource

NO_CARBON = Carbon()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one rule gave of one meter to one slot of one line (None: of no line).

    `via` are the utilities that it passed and `hops` the rules by which it came into each. `otherwise` is what another
    admissible rule would have given, in billionths of `unit`: time × typical power in place of time in quarters with
    several slots, and run time (or mass) in place of a share that is not measured. `factors` are those of `carbon`.
    """

    meter: str
    resource: Resource
    unit: str
    carrier: str | None
    line: str | None
    slot: Slot
    rule: Rule
    amount: Amount
    otherwise: int
    via: tuple[str, ...] = ()
    hops: tuple[Rule, ...] = ()
    carbon: Carbon = NO_CARBON
    scope: Scope | None = None
    factors: tuple[int, ...] = ()
    run: str | None = None
    order: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What a meter counted. `used` is what of it the site used: nothing of a part, as its whole counts.

    `quarters` are those of which anything is known: where there are none, nothing counted is not zero. `usable_days`
    are local days that are measured for more than half; they are told where a stretch of days is asked for.
    """

    meter: str
    resource: Resource
    unit: str
    counted: Amount
    used: Amount
    covered_ms: int
    quarters: int = 0
    usable_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What of one resource went in, and the share of the time that measured readings stand behind."""

    resource: Resource
    unit: str
    consumed: Amount
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LineHours:
    """The time of one slot of a line, in milliseconds. `run` and `order` are told where sums are by run."""

    line: str
    slot: Slot
    milliseconds: int
    run: str | None = None
    order: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """All parts of all meters over a span of quarters, what the meters counted, and what the lines did."""

    grid: Grid
    parts: tuple[Part, ...]
    production: tuple[Part, ...]
    metered: tuple[Metered, ...]
    hours: tuple[LineHours, ...]
    findings: tuple[Finding, ...]

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        """What went in, by resource."""
        found = []
        for resource in Resource:
            of = [metered for metered in self.metered if metered.resource is resource]
            if resource is not Resource.PRODUCTION and of:
                consumed = sum((metered.used for metered in of), Amount())
                coverage = sum(metered.covered_ms for metered in of) / (self.grid.length_ms * len(of))
                found.append(Ledger(resource=resource, unit=of[0].unit, consumed=consumed, coverage=coverage))
        return tuple(found)

    @property
    def occupied_ms(self) -> dict[tuple[str, str], int]:
        """Running and changeover time by line and product."""
        occupied: dict[tuple[str, str], int] = {}
        for hours in self.hours:
            if hours.slot.product is not None and hours.slot.phase in {Phase.PROCESSING, Phase.CHANGEOVER}:
                key = hours.line, hours.slot.product
                occupied[key] = occupied.get(key, 0) + hours.milliseconds
        return occupied
