"""Which meters exist and what they may say: the part of the site model that every reading is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from schemas.quantities import MAX_CANONICAL
from schemas.topics import AgentAddress

_SELECT_METERS: LiteralString = """
    SELECT organisation.key, site.key, agent.key, meter.key, meter.id, meter.unit, meter.to_canonical
    FROM meter
    JOIN agent ON agent.id = meter.agent_id
    JOIN site ON site.id = meter.site_id
    JOIN organisation ON organisation.id = site.organisation_id
"""
_SELECT_AGENTS: LiteralString = """
    SELECT organisation.key, site.key, agent.key
    FROM agent
    JOIN site ON site.id = agent.site_id
    JOIN organisation ON organisation.id = site.organisation_id
"""
_SELECT_VERSION: LiteralString = "SELECT version FROM model_version"

UNKNOWN_METER = -1
WRONG_UNIT = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMeter:
    """What the collector needs of a meter. `largest` is in the meter's own unit."""

    id: int
    unit: str
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterColumns:
    """A message's dictionary of meters, looked up: ids (negative: refused, and why) and largest values."""

    ids: NDArray[np.int32]
    largest: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MeterIndex:
    """All meters of all agents, as of one version of the model."""

    version: int
    agents: frozenset[AgentAddress]
    meters: dict[AgentAddress, dict[str, KnownMeter]]
    # By the lists themselves: `readings_json` gives the same ones again. By what is in them where they were read anew.
    _last: dict[AgentAddress, tuple[list[str], list[str], MeterColumns]] = field(default_factory=dict)
    _columns: dict[tuple[AgentAddress, tuple[str, ...], tuple[str, ...]], MeterColumns] = field(default_factory=dict)

    # Agents send the same dictionary again and again; strange ones must not fill the memory.
    _MOST_COLUMNS = 50_000
    _LARGEST_KEPT = 5_000

    def columns(self, address: AgentAddress, meters: list[str], units: list[str]) -> MeterColumns:
        """Look up a message's dictionary of meters and units."""
        last = self._last.get(address)
        if last is not None and last[0] is meters and last[1] is units:
            return last[2]
        found = self._look_up(address, meters, units)
        if len(meters) <= self._LARGEST_KEPT and address in self.agents:
            self._last[address] = (meters, units, found)
        return found

    def _look_up(self, address: AgentAddress, meters: list[str], units: list[str]) -> MeterColumns:
        key = (address, tuple(meters), tuple(units))
        found = self._columns.get(key)
        if found is None:
            known = self.meters.get(address, {})
            entries = [known.get(meter) for meter in meters]
            ids = [
                UNKNOWN_METER if entry is None else entry.id if entry.unit == unit else WRONG_UNIT
                for entry, unit in zip(entries, units, strict=True)
            ]
            found = MeterColumns(
                ids=np.array(ids, dtype=np.int32),
                largest=np.array([entry.largest if entry else np.inf for entry in entries]),
            )
            if len(self._columns) >= self._MOST_COLUMNS:
                self._columns.clear()
            if len(ids) <= self._LARGEST_KEPT and (found.ids >= 0).all():
                self._columns[key] = found
        return found

    def unit_of(self, address: AgentAddress, meter: str) -> str | None:
        """The unit that this meter is set up with; None for an unknown meter."""
        known = self.meters.get(address, {}).get(meter)
        return known.unit if known else None

    @cached_property
    def size(self) -> int:
        """How many meters there are."""
        return sum(len(meters) for meters in self.meters.values())


def load_meter_index(connection: psycopg.Connection) -> MeterIndex:
    """Read the model in one consistent view."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        version = connection.execute(_SELECT_VERSION).fetchone()
        agents = connection.execute(_SELECT_AGENTS).fetchall()
        rows = connection.execute(_SELECT_METERS).fetchall()
    meters: dict[AgentAddress, dict[str, KnownMeter]] = {}
    for organisation, site, agent, meter, meter_id, unit, to_canonical in rows:
        address = AgentAddress(organisation=organisation, site=site, agent=agent)
        meters.setdefault(address, {})[meter] = KnownMeter(id=meter_id, unit=unit, largest=MAX_CANONICAL / to_canonical)
    return MeterIndex(
        version=version[0] if version else 0,
        agents=frozenset(AgentAddress(organisation=o, site=s, agent=a) for o, s, a in agents),
        meters=meters,
    )
