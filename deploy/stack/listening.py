"""Under which addresses and names the broker is reached by agents."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

from deploy.stack.folders import LOOPBACK

# Of a range that is for documentation: nobody is there, and nothing is sent.
_NOBODY = {4: ("192.0.2.1", 9), 6: ("2001:db8::1", 9)}


def told_address(listen: str) -> str:
    """The address that agents are told: `listen` itself, or this machine's first one where it stands for all."""
    address = ipaddress.ip_address(listen)
    return _outward(address.version) if address.is_unspecified else listen


def agent_url(listen: str, port: int) -> str:
    """Where agents connect."""
    host = told_address(listen)
    return f"mqtts://[{host}]:{port}" if ":" in host else f"mqtts://{host}:{port}"


def certified_names(listen: str) -> list[str]:
    """What the broker's certificate is for, each once."""
    return list(dict.fromkeys((LOOPBACK, "localhost", socket.gethostname(), told_address(listen))))


def _outward(version: int) -> str:
    """The address by which this machine speaks to others; its name where it has none."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(_NOBODY[version])
        return str(probe.getsockname()[0])
    return socket.gethostname()
