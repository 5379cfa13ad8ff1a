"""What is there in the end, and what should be: read from the database, the outboxes and the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from collector.rebuild import rebuild
from deploy.chaos.errors import StuckError
from deploy.chaos.journal import read_truth, readings_in
from deploy.chaos.meters import AGENTS
from deploy.chaos.plant import Plant
from deploy.chaos.poison import Poison
from schemas.quarantine import Reason
from schemas.wire import OutboxState, Readings

_READINGS: LiteralString = """
    SELECT key, (extract(epoch FROM at) * 1000)::int8, value, quality FROM reading LEFT JOIN meter ON id = meter_id
    ORDER BY key, at
"""
_TOTALS: LiteralString = """
    SELECT key, sum(measured + estimated)::int8 FROM consumption JOIN meter ON id = meter_id
    WHERE kind <> 'rate' GROUP BY key
"""
_LEDGER: LiteralString = """
    SELECT agent, epoch, stored_seq, highest_seq, adopted, messages, readings, stored, repeated, quarantined,
           (SELECT count(*) FROM ledger_ahead AS a
            WHERE (a.organisation, a.site, a.agent, a.epoch) = (l.organisation, l.site, l.agent, l.epoch))
    FROM ledger AS l WHERE organisation = %s ORDER BY agent, epoch
"""
_QUARANTINE: LiteralString = """
    SELECT reason, agent, epoch, seq, topic, counted, payload, detail FROM quarantine ORDER BY id
"""
_WAS_LATE: LiteralString = "SELECT is_called FROM pending_id_seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReading:
    """A row of the table; `meter` None for one that the site model does not have."""

    meter: str | None
    at_ms: int
    value: float
    quality: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """What the ledger says of an agent's epoch; `ahead` counts messages that stand behind a hole."""

    agent: str
    epoch: str
    stored_seq: int
    highest_seq: int
    adopted: int
    messages: int
    readings: int
    stored: int
    repeated: int
    quarantined: int
    ahead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An entry. `counted`: readings of it that the ledger counts as quarantined."""

    reason: Reason
    agent: str | None
    epoch: str | None
    seq: int | None
    topic: str
    counted: int
    payload: bytes
    detail: str

    def readings(self) -> list[tuple[str, int, float]]:
        """Meter, instant and value of each reading in it. Raises pydantic.ValidationError when none can be read."""
        message = Readings.model_validate_json(self.payload)
        return [
            (message.meters[entry], at_ms, value)
            for entry, at_ms, value in zip(message.meter, message.at, message.value, strict=True)
        ]

    def is_of(self, poison: Poison) -> bool:
        """Whether this is what became of it."""
        if (self.topic, self.reason) != (poison.topic, poison.reason):
            return False
        return self.payload == poison.payload or (
            poison.epoch is not None and (self.epoch, self.seq) == (poison.epoch, poison.seq)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a verdict needs. `taken` is the ground truth, by meter and instant."""

    taken: dict[tuple[str, int], float]
    stored: Sequence[StoredReading]
    ledger: Sequence[LedgerRow]
    quarantine: Sequence[Quarantined]
    outboxes: dict[str, OutboxState]
    consumption: dict[str, int]
    poisons: Sequence[Poison] = ()
    is_rebuilt_identical: bool = True
    was_late: bool = False


def gather(plant: Plant, poisons: Sequence[Poison]) -> Evidence:
    """Read all of it, and compute consumption anew from the readings, when everything has come to rest."""
    taken: dict[tuple[str, int], float] = {}
    for agent in AGENTS:
        taken.update(readings_in(read_truth(plant.truth(agent))))
    consumption = dict(plant.query(_TOTALS))
    with psycopg.connect(plant.servers.database_url, autocommit=True) as connection:
        rebuilt = rebuild(connection)
    return Evidence(
        taken=taken,
        stored=[
            StoredReading(meter=meter, at_ms=at_ms, value=value, quality=quality)
            for meter, at_ms, value, quality in plant.query(_READINGS)
        ],
        ledger=[_ledger_row(row) for row in plant.query(_LEDGER, plant.settings.organisation)],
        quarantine=read_quarantine(plant),
        outboxes=_outboxes(plant),
        consumption=consumption,
        poisons=poisons,
        is_rebuilt_identical=rebuilt.is_identical and rebuilt.quarters > 0,
        was_late=plant.query(_WAS_LATE) == [(True,)],
    )


def read_quarantine(plant: Plant) -> list[Quarantined]:
    """Everything in it, oldest first. Raises psycopg.Error."""
    return [
        Quarantined(
            reason=Reason(reason),
            agent=agent,
            epoch=epoch,
            seq=seq,
            topic=topic,
            counted=counted,
            payload=bytes(payload),
            detail=detail,
        )
        for reason, agent, epoch, seq, topic, counted, payload, detail in plant.query(_QUARANTINE)
    ]


def _ledger_row(row: Sequence[Any]) -> LedgerRow:
    return LedgerRow(**dict(zip(LedgerRow.__dataclass_fields__, row, strict=True)))


def _outboxes(plant: Plant) -> dict[str, OutboxState]:
    found = {agent: plant.outbox(agent) for agent in AGENTS}
    missing = [agent for agent, outbox in found.items() if outbox is None]
    if missing:
        raise StuckError(f"{', '.join(missing)} never made an outbox; see the logs of these agents")
    return {agent: outbox for agent, outbox in found.items() if outbox is not None}
