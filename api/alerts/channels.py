"""Where alert messages go: a webhook, and the broker."""

from __future__ import annotations

import json
import threading
from typing import Any, Protocol

import httpx
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from api.broker_client import new_client
from api.errors import ApiError
from schemas.broker_tls import BrokerTls
from schemas.broker_url import parse_broker_url
from schemas.errors import TransientError
from schemas.topics import alerts_topic
from schemas.wire import JSON_TYPE

_TIMEOUT_S = 10.0


class UndeliveredError(ApiError, TransientError):
    """The message did not arrive; it is kept and tried again."""


class Channel(Protocol):
    """One way out. `name` is that of the table's rows."""

    name: str

    def send(self, payload: dict[str, Any]) -> None:
        """Deliver one message (`schemas.alerts.AlertMessage`). Raises UndeliveredError."""
        ...

    def close(self) -> None:
        """Let go of connections. Safe twice."""
        ...


class Webhook:
    """POST with JSON; any answer from 200 to 299 says that it arrived. `Idempotency-Key` tells a repetition."""

    name = "webhook"

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Content-Type": JSON_TYPE} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._url = url
        self._http = httpx.Client(headers=headers, timeout=_TIMEOUT_S)

    def send(self, payload: dict[str, Any]) -> None:
        body = json.dumps(payload, ensure_ascii=False).encode()
        try:
            answer = self._http.post(self._url, content=body, headers={"Idempotency-Key": str(payload["message"])})
        except httpx.HTTPError as error:
            raise UndeliveredError(f"the webhook can't be reached: {error}") from error
        if not answer.is_success:
            raise UndeliveredError(
                f"the webhook answered {answer.status_code}; check AFKOBLING_ALERT_WEBHOOK_URL and its token"
            )

    def close(self) -> None:
        self._http.close()


class Broker:
    """Publishes at `afkobling/v1/{organisation}/{site}/alerts`, QoS 1.

    Not retained: each message is a change, and the last one alone would hide the others. Whoever comes later asks the
    API for what is open.
    """

    name = "mqtt"

    def __init__(self, broker_url: str, tls: BrokerTls | None = None) -> None:
        """Raises BrokerTlsError."""
        broker = parse_broker_url(broker_url)
        self._address = (broker.host, broker.port)
        self._told = str(broker)
        self._client = new_client(broker, tls)
        self._is_connected = threading.Event()
        self._client.on_connect = lambda _c, _u, _f, reason, _p: None if reason.is_failure else self._is_connected.set()
        self._client.on_disconnect = lambda *_: self._is_connected.clear()
        self._is_started = False

    def send(self, payload: dict[str, Any]) -> None:
        self._connect()
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = JSON_TYPE
        info = self._client.publish(
            alerts_topic(payload["organisation"], payload["site"]),
            json.dumps(payload, ensure_ascii=False),
            qos=1,
            properties=properties,
        )
        try:
            info.wait_for_publish(_TIMEOUT_S)
        except (RuntimeError, ValueError) as error:
            raise UndeliveredError(f"the broker at {self._told} did not take it: {error}") from error
        if not info.is_published():
            raise UndeliveredError(f"the broker at {self._told} did not acknowledge it within {_TIMEOUT_S:.0f} s")

    def close(self) -> None:
        if self._is_started:
            self._client.disconnect()
            self._client.loop_stop()
            self._is_started = False

    def _connect(self) -> None:
        if not self._is_started:
            try:
                self._client.connect(*self._address)
            except OSError as error:
                raise UndeliveredError(f"the broker at {self._told} can't be reached: {error}") from error
            self._client.loop_start()
            self._is_started = True
        # From here on the client's own thread connects again by itself.
        if not self._is_connected.wait(_TIMEOUT_S):
            raise UndeliveredError(f"the broker at {self._told} is away, or does not let us in")
