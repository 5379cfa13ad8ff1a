"""Tells an agent over the broker what to run: retained, so that it hears it whenever it connects."""

from __future__ import annotations

import threading

from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from api.broker_client import new_client
from api.errors import ApiError
from schemas.broker_tls import BrokerTls
from schemas.broker_url import BrokerUrl
from schemas.errors import TransientError
from schemas.wire import JSON_TYPE

_TIMEOUT_S = 10.0


class UntoldError(ApiError, TransientError):
    """The broker did not take it; what was signed is kept, and can be published again."""


def tell(broker: BrokerUrl, tls: BrokerTls | None, topic: str, payload: bytes) -> None:
    """Publish, retained, and wait until the broker has it. Raises UntoldError, BrokerTlsError."""
    client = new_client(broker, tls, reconnects=False)
    answered = threading.Event()
    said: list[ReasonCode] = []

    def heard(reason: ReasonCode) -> None:
        said.append(reason)
        answered.set()

    def connected(client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: object) -> None:
        if reason.is_failure:
            heard(reason)
            return
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = JSON_TYPE
        client.publish(topic, payload, qos=1, retain=True, properties=properties)

    client.on_connect = connected
    client.on_publish = lambda _c, _d, _m, reason, _p: heard(reason)
    client.on_disconnect = lambda *_: answered.set()
    try:
        client.connect(broker.host, broker.port)
    except (OSError, ValueError) as error:
        raise UntoldError(f"the broker at {broker} can't be reached: {error}") from error
    client.loop_start()
    answered.wait(_TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
    if not said:
        raise UntoldError(f"the broker at {broker} did not answer within {_TIMEOUT_S:.0f} s, or ended the connection")
    if said[0].is_failure:
        raise UntoldError(f"the broker at {broker} refuses it: {said[0]}; check who AFKOBLING_BROKER_URL signs in as")
