"""Devices that publish to a broker, as far as a bridge can tell: for tests, and for trying a mapping out."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import BrokerUnavailableError
from schemas.broker_url import parse_broker_url

_DEADLINE_S = 30.0
_NO_SUBSCRIBERS = 0x10


class Publisher:
    """One client of a broker. It connects when it has something to say."""

    def __init__(self, url: str) -> None:
        self._url = parse_broker_url(url)
        self._client: Client | None = None
        self._answers: dict[int, ReasonCode] = {}
        self._answered = threading.Condition()

    async def say(self, topic: str, document: Any, *, qos: int = 1, retain: bool = False) -> bool:
        """Publish a document as JSON, or bytes as they are; whether anybody was subscribed.

        With QoS 0 nobody says, and the answer is True. Raises BrokerUnavailableError.
        """
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await asyncio.to_thread(self._say, topic, payload, qos, retain)

    async def say_when_heard(self, topic: str, document: Any) -> None:
        """Publish once somebody is subscribed, or has a session that waits. Raises BrokerUnavailableError."""
        async with asyncio.timeout(_DEADLINE_S):
            while not await self.say(topic, document):  # noqa: ASYNC110 - the broker tells nobody who comes
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Leave the broker. Safe twice; what is said later connects again."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    def _say(self, topic: str, payload: bytes, qos: int, retain: bool) -> bool:
        client = self._connected()
        with self._answered:
            info = client.publish(topic, payload, qos=qos, retain=retain)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise BrokerUnavailableError(f"{self._url} is gone")
            if qos == 0:
                return True
            if not self._answered.wait_for(lambda: info.mid in self._answers, timeout=_DEADLINE_S):
                raise BrokerUnavailableError(f"{self._url} does not answer")
            return self._answers.pop(info.mid).value != _NO_SUBSCRIBERS

    def _connected(self) -> Client:
        if self._client is not None and self._client.is_connected():
            return self._client
        if self._client is not None:
            self._client.loop_stop()
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False)
        connected = threading.Event()
        if self._url.user is not None:
            client.username_pw_set(self._url.user, self._url.password)
        if self._url.is_encrypted:
            client.tls_set()
        client.on_connect = lambda *_: connected.set()
        client.on_publish = self._on_publish
        try:
            client.connect(self._url.host, self._url.port)
        except OSError as error:
            raise BrokerUnavailableError(f"no connection to {self._url}: {error}") from error
        client.loop_start()
        self._client = client
        if not connected.wait(_DEADLINE_S):
            raise BrokerUnavailableError(f"{self._url} does not answer")
        return client

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        with self._answered:
            self._answers[mid] = reason
            self._answered.notify_all()
