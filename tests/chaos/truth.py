"""What three agents read, made up from a seed and written apart from everything that is under test. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from schemas.site import Agent, Line, Meter, Organisation, Site, SiteModel

STEP_MS = 30_000
STEPS = 60
"""Instants in a part: half an hour."""
PART_MS = STEPS * STEP_MS
HEADER = "at,meter,value,unit,resource,kind,carrier,interval"

Row = tuple[int, str, Decimal]
"""Instant (Unix milliseconds), meter, value."""

_METERS: tuple[dict[str, str], ...] = (
    {"id": "power", "agent": "cabinet", "resource": "energy", "unit": "kWh", "kind": "counter"},
    {"id": "water", "agent": "cabinet", "resource": "water", "unit": "l", "kind": "counter"},
    {"id": "heat", "agent": "boiler", "resource": "energy", "unit": "Wh", "kind": "counter"},
    {"id": "gas", "agent": "boiler", "resource": "energy", "unit": "kWh", "kind": "interval", "interval": "1min"},
    {"id": "air", "agent": "press", "resource": "energy", "unit": "kW", "kind": "rate"},
    {"id": "pieces", "agent": "press", "resource": "production", "carrier": "good", "unit": "pcs", "kind": "counter"},
)
AGENTS = ("cabinet", "boiler", "press")
_CANONICAL = {"l": Decimal("0.001"), "Wh": Decimal("0.001")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """`parts[agent]` are files that follow each other in time; no reading stands in two."""

    parts: dict[str, list[list[Row]]]
    end_ms: int

    def readings(self) -> dict[tuple[str, int], float]:
        """Every reading by meter and instant."""
        return {
            (meter, at): float(value)
            for parts in self.parts.values()
            for part in parts
            for at, meter, value in part
        }  # fmt: skip

    def totals(self) -> dict[str, int]:
        """What each meter counted, in billionths of its canonical unit; a rate counts nothing by itself."""
        values: dict[str, list[Decimal]] = {}
        for parts in self.parts.values():
            for part in parts:
                for _, meter, value in part:
                    values.setdefault(meter, []).append(value)
        found = {}
        for described in _METERS:
            key, kind = described["id"], described["kind"]
            own, to_canonical = values[key], _CANONICAL.get(described["unit"], Decimal(1))
            if kind != "rate":
                counted = sum(own, Decimal(0)) if kind == "interval" else own[-1] - own[0]
                found[key] = int(counted * to_canonical * 1_000_000_000)
        return found


def make_truth(seed: int, *, parts: int, start_ms: int) -> Truth:
    """Registers that go up, or rest, with instants left out here and there and silences of some length."""
    rng = random.Random(f"truth {seed}")
    made: dict[str, list[list[Row]]] = {agent: [] for agent in AGENTS}
    registers = {meter["id"]: Decimal(rng.randrange(10**8)) / 1000 for meter in _METERS}
    for part in range(parts):
        for agent in AGENTS:
            # Longer than the longest silence that is still measured: an estimated span.
            silent = rng.randrange(STEPS) if rng.random() < 0.2 else 0
            begin = start_ms + part * PART_MS
            rows = [
                row
                for step in range(silent, STEPS)
                if rng.random() > 0.05 or step == STEPS - 1
                for row in _rows(rng, agent, step, begin + step * STEP_MS, registers)
            ]
            made[agent].append(rows)
    return Truth(parts=made, end_ms=start_ms + parts * PART_MS)


def _rows(rng: random.Random, agent: str, step: int, at_ms: int, registers: dict[str, Decimal]) -> Iterator[Row]:
    for meter in _METERS:
        key, kind = meter["id"], meter["kind"]
        if meter["agent"] != agent or (kind == "interval" and step % 2):
            continue
        amount = Decimal(rng.randrange(4_000) * rng.randrange(2)) / 1000
        if kind == "counter":
            whole = meter["unit"] != "kWh"
            registers[key] = (registers[key] + amount).quantize(Decimal(1) if whole else Decimal("0.001"))
            amount = registers[key]
        yield at_ms, key, amount


def csv_of(rows: list[Row]) -> str:
    """A file that the mapping `plain` reads."""
    meters = {meter["id"]: meter for meter in _METERS}
    lines = [HEADER]
    for at_ms, key, value in rows:
        meter = meters[key]
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
        described = [meter["resource"], meter["kind"], meter.get("carrier", ""), meter.get("interval", "")]
        lines.append(",".join([at, key, str(value), meter["unit"], *described]))
    return "\n".join(lines) + "\n"


def site_model(organisation: str) -> SiteModel:
    """A site with these agents and meters."""
    return SiteModel(
        organisation=Organisation(id=organisation),
        site=Site(id="hall", time_zone="Europe/Copenhagen"),
        lines=[Line(id="press")],
        agents=[Agent(id=agent) for agent in AGENTS],
        meters=[Meter.model_validate({**meter, "max_gap": "10min"}) for meter in _METERS],
    )
