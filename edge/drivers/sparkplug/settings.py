"""What edge.yaml says of a broker with Sparkplug B."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edge.drivers import DriverSettings
from edge.drivers.credentials import Secret, Trust
from edge.drivers.quantity import Quantity
from edge.drivers.sparkplug.host import Wanted
from edge.drivers.sparkplug.topics import parse_place
from schemas.broker_url import parse_broker_url
from schemas.durations import SpanMs
from schemas.resources import MeterKind
from schemas.topics import Key


def _checked_url(text: str) -> str:
    parse_broker_url(text)
    return text


def _checked_place(text: str) -> str:
    parse_place(text)
    return text


class SparkplugMeter(Quantity):
    """`node`: group/edge-node, or group/edge-node/device. `metric`: its name as in the birth."""

    node: Annotated[str, AfterValidator(_checked_place)]
    metric: Annotated[str, Field(min_length=1)]

    def wanted(self) -> Wanted:
        node, device = parse_place(self.node)
        return Wanted(
            node=node,
            device=device,
            metric=self.metric,
            unit=self.unit if self.scale == Decimal(1) else None,
            is_interval=self.kind is MeterKind.INTERVAL,
        )


class SparkplugSettings(DriverSettings):
    """`host_id`: the host whose STATE edge nodes may wait for. `rebirth_wait`: between two requests to a node.

    `silent_after`: a node that says nothing for so long is asked what its values are.
    """

    driver: Literal["sparkplug"]
    broker: Annotated[str, AfterValidator(_checked_url)]
    user: str | None = None
    password: Secret | None = None
    tls: Trust = Trust()
    mqtt: Literal[5, "3.1.1"] = 5
    client_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    host_id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/+#]+$")] | None = None
    rebirth_wait: SpanMs = 30_000
    silent_after: SpanMs = 900_000
    timeout: SpanMs = 5_000
    longest_wait: Annotated[SpanMs, Field(description="between attempts to reach a broker that is away")] = 60_000
    meters: Annotated[dict[Key, SparkplugMeter], Field(min_length=1)]
