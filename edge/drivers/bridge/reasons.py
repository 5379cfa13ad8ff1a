"""Why a broker that devices publish to does not let us listen, in words for a technician."""

from __future__ import annotations

from paho.mqtt.reasoncodes import ReasonCode

_WORDS = {
    0x80: "it gives no reason",
    0x84: "it does not speak this version of MQTT; try `mqtt: 3.1.1`",
    0x85: "it does not like our client identifier; give another one as `client_id`",
    0x86: "wrong user or password",
    0x87: "not authorized; check user and password, and the broker's access list",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "it has banned us",
    0x8B: "it shuts down",
    0x8D: "it heard nothing from us for too long",
    0x8E: "somebody else connected under our client identifier; give each driver its own `client_id`",
    0x8F: "it does not take this topic filter",
    0x9F: "too many connections in a short time",
}


def explain(reason: ReasonCode) -> str:
    """A reason code of MQTT 5, or one of 3.1.1 in its place, in plain words."""
    return _WORDS.get(reason.value, str(reason).lower())
