"""Settings of the collector and of the roll-up, from the environment (`AFKOBLING_…`), validated whole at start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from collector.follower import LOOK_MS
from schemas.broker_tls import BrokerTlsSettings
from schemas.wire import MAX_PAYLOAD_BYTES


class CheckSettings(BaseSettings):
    """What a reading is checked by, whichever way it comes: live, by a replay, or from a file."""

    model_config = SettingsConfigDict(env_prefix="AFKOBLING_", frozen=True, extra="ignore")

    future_tolerance_ms: Annotated[
        int, Field(ge=0, description="a reading further ahead of this clock goes to quarantine")
    ] = 300_000


class CollectorSettings(CheckSettings, BrokerTlsSettings):
    """Every setting of `afkobling collector run`."""

    database_url: Annotated[str, Field(description="postgresql://… of the TimescaleDB to write to")]
    broker_url: Annotated[str, Field(description="mqtt://user:password@host:port, or mqtts://…")]
    collector_id: Annotated[str, Field(description="MQTT client id; one for each collector")] = "afkobling-collector"
    share_group: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9-]+$",
            description="name of a shared subscription for several collectors; none: one collector, whose session "
            "the broker keeps while it is away",
        ),
    ] = None
    batch_readings: Annotated[int, Field(ge=1, le=1_000_000, description="readings in one transaction, about")] = 50_000
    batch_bytes: Annotated[
        int, Field(ge=2_000_000, description="memory of one transaction's messages, at most; one alone may take more")
    ] = 32_000_000
    most_message_bytes: Annotated[
        int, Field(ge=1_000, description="a message with a larger payload goes to quarantine whole")
    ] = MAX_PAYLOAD_BYTES
    batch_age_ms: Annotated[int, Field(ge=1, le=60_000, description="longest wait for a batch to fill")] = 100
    receive_maximum: Annotated[
        int, Field(ge=1, le=65_535, description="messages that the broker may send ahead of acknowledgement")
    ] = 2_000
    buffer_bytes: Annotated[int, Field(ge=2_000_000, description="payload bytes held in memory, at most")] = 64_000_000
    collector_metrics_port: Annotated[
        int | None, Field(ge=1, le=65_535, description="Prometheus metrics and health on 127.0.0.1")
    ] = None


class RollupSettings(BaseSettings):
    """Every setting of `afkobling rollup run`."""

    model_config = SettingsConfigDict(env_prefix="AFKOBLING_", frozen=True, extra="ignore")

    database_url: Annotated[str, Field(description="postgresql://… of the TimescaleDB to roll up")]
    rollup_grace_ms: Annotated[
        int,
        Field(
            ge=LOOK_MS,
            le=900_000,
            description="how long after its end a quarter is completed; readings may arrive until 15 s before that",
        ),
    ] = 30_000
    rollup_poll_ms: Annotated[int, Field(ge=10, description="how often to look for something to do")] = 1_000
    rollup_metrics_port: Annotated[
        int | None, Field(ge=1, le=65_535, description="Prometheus metrics and health on 127.0.0.1")
    ] = None
