"""Every setting of `afkobling alerts run`, from the environment (`AFKOBLING_…`), checked whole at the start."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from api.alerts.plan import Policy
from schemas.broker_tls import BrokerTlsSettings
from schemas.broker_url import parse_broker_url


class AlertSettings(BrokerTlsSettings):
    """Each field is an environment variable: `alert_webhook_url` is AFKOBLING_ALERT_WEBHOOK_URL."""

    model_config = SettingsConfigDict(env_prefix="AFKOBLING_", frozen=True, extra="ignore")

    database_url: Annotated[SecretStr, Field(description="postgresql://… of the database", min_length=1)]
    alert_webhook_url: Annotated[
        HttpUrl | None, Field(description="where messages are sent with POST, as JSON; none: no webhook")
    ] = None
    alert_webhook_token: Annotated[
        SecretStr | None, Field(description="sent as Authorization: Bearer … with each message")
    ] = None
    alert_mqtt: Annotated[bool, Field(description="whether messages are published at the broker, too")] = False
    broker_url: Annotated[str | None, Field(description="mqtt://host:port or mqtts://host:port, for alert_mqtt")] = None
    alert_every_s: Annotated[int, Field(ge=10, le=86_400, description="how often each site is looked at")] = 300
    alert_per_hour: Annotated[
        int, Field(ge=1, le=1000, description="messages of a site in an hour; what is beyond is told in one")
    ] = 10
    alert_remind_h: Annotated[
        int, Field(ge=24, le=8760, description="hours after which an open alert is told again, if nobody acknowledged")
    ] = 24
    alert_close_after_s: Annotated[
        int, Field(ge=0, le=86_400, description="how long a condition must be gone before its alert closes")
    ] = 900
    alert_patience_h: Annotated[
        int, Field(ge=1, le=720, description="hours for which a message is tried before it is given up")
    ] = 24
    alert_metrics_port: Annotated[
        int | None, Field(ge=1, le=65_535, description="Prometheus metrics and health on 127.0.0.1")
    ] = None

    @field_validator("broker_url")
    @classmethod
    def _is_a_broker(cls, url: str | None) -> str | None:
        if url is not None:
            parse_broker_url(url)
        return url

    @model_validator(mode="after")
    def _has_a_broker(self) -> Self:
        if self.alert_mqtt and self.broker_url is None:
            raise ValueError("AFKOBLING_ALERT_MQTT needs AFKOBLING_BROKER_URL: where to publish")
        return self

    @property
    def policy(self) -> Policy:
        return Policy(
            close_after=timedelta(seconds=self.alert_close_after_s),
            remind_after=timedelta(hours=self.alert_remind_h),
            per_hour=self.alert_per_hour,
        )
