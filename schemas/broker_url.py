"""Where the broker is, as `mqtt://user@host:port` or `mqtts://…` say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUrl:
    """A broker's address. `str()` leaves the password out."""

    host: str
    port: int
    is_encrypted: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        scheme = "mqtts" if self.is_encrypted else "mqtt"
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}"


def parse_broker_url(text: str) -> BrokerUrl:
    """Read the URL. Raises ValueError that says what is wrong with it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a broker address: {error}; write it like mqtt://192.168.1.5:1883") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(
            "not a broker address; write it like mqtt://192.168.1.5:1883, or mqtts:// for an encrypted one"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("a broker address ends after the port; remove what follows")
    return BrokerUrl(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        is_encrypted=parts.scheme == "mqtts",
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )
