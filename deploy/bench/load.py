"""The load that a bench sends: agents with many meters, as messages and as the same rows for COPY. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas import arrow
from schemas.resources import MeterKind, Resource
from schemas.site import Agent, Line, Meter, Organisation, Site, SiteModel
from schemas.wire import ARROW_TYPE, JSON_TYPE

ORGANISATION, SITE, UNIT = "bench", "bench", "kWh"
METERS_PER_AGENT = 100
STEP_MS = 1_000


class Shape(StrEnum):
    """How the readings of a message are spread: over instants, or over meters."""

    DEEP = "deep"
    WIDE = "wide"


class Encoding(StrEnum):
    JSON = "json"
    ARROW = "arrow"

    @property
    def content_type(self) -> str:
        return JSON_TYPE if self is Encoding.JSON else ARROW_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`messages` messages of each of `agents` agents, with `readings` readings a message."""

    shape: Shape
    readings: int
    encoding: Encoding
    agents: int
    messages: int
    start_ms: int

    @property
    def total_messages(self) -> int:
        return self.agents * self.messages

    @property
    def total_readings(self) -> int:
        return self.total_messages * self.readings


def agent_key(agent: int) -> str:
    return f"agent-{agent}"


def site_model(agents: int) -> SiteModel:
    """A site with METERS_PER_AGENT counters at each agent, for as many messages as a load wants."""
    return SiteModel(
        organisation=Organisation(id=ORGANISATION),
        site=Site(id=SITE, time_zone="Europe/Copenhagen"),
        lines=[Line(id="line")],
        agents=[Agent(id=agent_key(agent)) for agent in range(agents)],
        meters=[
            Meter(
                id=f"a{agent}-m{meter}",
                agent=agent_key(agent),
                line="line",
                resource=Resource.ENERGY,
                carrier="electricity",
                unit=UNIT,
                kind=MeterKind.COUNTER,
            )
            for agent in range(agents)
            for meter in range(METERS_PER_AGENT)
        ],
    )


def columns(load: Load, message: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Meter (of the agent), instant and value of a message's readings; no two messages of an agent overlap."""
    row = np.arange(load.readings, dtype=np.int64)
    if load.shape is Shape.DEEP:
        meter = np.full(load.readings, message % METERS_PER_AGENT, dtype=np.int64)
        step = message // METERS_PER_AGENT * load.readings + row
    else:
        position = message * load.readings + row
        meter, step = position % METERS_PER_AGENT, position // METERS_PER_AGENT
    # Registers as meters show them: two decimals, rising.
    return (
        meter,
        load.start_ms + step * STEP_MS,
        np.asarray(np.round(1000.0 + meter + step * 0.01, 2), dtype=np.float64),
    )


def payloads(load: Load, agent: int, epoch: str) -> Iterator[bytes]:
    """The messages of one agent, seq 1, 2, 3 …"""
    for message in range(load.messages):
        meter, at, value = columns(load, message)
        used, index = np.unique(meter, return_inverse=True)
        names = [f"a{agent}-m{m}" for m in used]
        if load.encoding is Encoding.ARROW:
            table = pa.table(
                {
                    "meter": pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), names),
                    "unit": pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(index), np.int32)), [UNIT]),
                    "at": pa.array(at, pa.timestamp("ms", tz="UTC")),
                    "value": value,
                    "quality": np.zeros(len(index), np.int16),
                }
            )
            yield arrow.encode_readings(table, epoch=epoch, seq=message + 1, sent_at=load.start_ms)
        else:
            body = {
                "v": 1,
                "epoch": epoch,
                "seq": message + 1,
                "sent_at": load.start_ms,
                "meters": names,
                "units": [UNIT] * len(names),
                "meter": index.tolist(),
                "at": at.tolist(),
                "value": value.tolist(),
            }
            yield json.dumps(body, separators=(",", ":")).encode()
