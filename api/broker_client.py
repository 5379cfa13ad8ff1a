"""An MQTT client for our own servers' small talk with the broker."""

from __future__ import annotations

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from schemas.broker_tls import BrokerTls
from schemas.broker_url import BrokerUrl


def new_client(
    broker: BrokerUrl, tls: BrokerTls | None = None, *, client_id: str = "", reconnects: bool = True
) -> mqtt.Client:
    """MQTT 5, with the name, password and encryption that the broker's address asks for, not yet connected.

    `tls` counts for mqtts only; None: the machine's own list of authorities. Raises BrokerTlsError.
    """
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=reconnects,
    )
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if broker.is_encrypted:
        client.tls_set_context((tls or BrokerTls()).context())
    return client
