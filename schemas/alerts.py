"""Alert messages: what a webhook and an MQTT subscriber receive when something needs a person."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.topics import Key
from schemas.wire import Instant, Message


class AlertRule(StrEnum):
    """Which condition raised it. `silent` is of a meter or of a whole agent, the others are of a meter."""

    SILENT = "silent"
    NEGATIVE_REST = "negative_rest"
    LEAK = "leak"
    SPIKE = "spike"


class AlertChange(StrEnum):
    """What happened to an alert: it began, it still goes on after a day, it ended."""

    OPENED = "opened"
    REMINDER = "reminder"
    CLOSED = "closed"


class Alert(BaseModel):
    """One alert. Either `meter` or `agent` is there; `until` is there once it has ended."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    id: int
    rule: Annotated[AlertRule, Field(strict=False)]
    change: Annotated[AlertChange, Field(strict=False)]
    meter: Key | None = None
    agent: Key | None = None
    since: Instant
    until: Instant | None = None
    seen: str
    why: str
    todo: str


class AlertMessage(Message):
    """One message about one alert; about many when there were too many to tell one by one.

    `message` is the same on every channel and each time it is sent again, so that a receiver can tell a repetition.
    `text` says it all in one line, for a telephone.
    """

    message: str
    organisation: Key
    site: Key
    at: Instant
    text: str
    alerts: Annotated[list[Alert], Field(min_length=1)]
