"""What an agent tells on the spot: over its socket, on its status page, to `afkobling edge status`."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from schemas.wire import ConfigurationState, Instant


class _Said(BaseModel):
    """A newer agent may say more than an older command knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class MeterState(StrEnum):
    """`silent`: nothing for three times its cadence. `waiting`: nothing yet, and it is not overdue."""

    READING = "reading"
    SILENT = "silent"
    WAITING = "waiting"


class MeterStatus(_Said):
    """A meter's last reading; `at` is its instant, Unix milliseconds. None of it when there was none yet."""

    meter: str
    driver: str | None = None
    state: MeterState
    value: float | None = None
    unit: str | None = None
    at: Instant | None = None
    cadence_ms: int | None = None


class BrokerStatus(_Said):
    """`reason`: why not connected, in words."""

    address: str
    connected: bool
    reason: str | None = None


class OutboxStatus(_Said):
    """What waits for the collector's word that it is stored. `stored_at`: when that word came last."""

    messages: int = 0
    readings: int = 0
    bytes: int = 0
    limit_bytes: int | None = None
    oldest_at: Instant | None = None
    dropped_readings: int = 0
    stored_at: Instant | None = None


class ClockStatus(_Said):
    """`ahead_ms`: beside the collector's clock, about. `synchronised`: whether somebody sets this machine's clock."""

    ahead_ms: int | None = None
    synchronised: bool | None = None


class LocalStatus(_Said):
    """`running`: whether an agent runs; where none does, only what its files tell is known."""

    running: bool
    at: Instant
    agent: str
    version: str | None = None
    started_at: Instant | None = None
    broker: BrokerStatus
    outbox: OutboxStatus
    clock: ClockStatus = ClockStatus()
    certificate_until: Instant | None = None
    configuration: ConfigurationState = ConfigurationState()
    disk_free_bytes: int | None = None
    meters: list[MeterStatus] = []
    problems: list[str] = []
