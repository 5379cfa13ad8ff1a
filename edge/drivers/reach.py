"""Where a meter is reached, a serial port or a host, and why that fails, in words for a technician."""

from __future__ import annotations

import errno
import socket
from enum import StrEnum


class Parity(StrEnum):
    """The ninth bit of a byte on a serial line."""

    NONE = "none"
    EVEN = "even"
    ODD = "odd"


def why_no_port(port: str, error: Exception) -> str | None:
    """Why a serial port can't be opened, and what to do; None where the error itself says the most."""
    match getattr(error, "errno", None):
        case errno.ENOENT:
            return f"there is no {port}; is the adapter plugged in? `ls /dev/serial/by-id` lists them"
        case errno.EACCES:
            return f"no right to use {port}; add the agent's user to the group dialout"
        case errno.EBUSY | errno.EAGAIN:
            return f"another program, or a driver with other settings, has {port} open; end that one"
        case _:
            return None


def why_no_host(place: str, error: Exception, *, host: str, timeout_s: float, refused: str) -> str:
    """Why there is no connection, and what to do. `refused`: what to check where the host says no."""
    if isinstance(error, socket.gaierror):
        return f"nobody knows the name {host}; check it, or give the IP address"
    if isinstance(error, TimeoutError):
        return f"no connection to {place} within {timeout_s:g} s; check address, cable and power"
    if isinstance(error, ConnectionRefusedError):
        return f"{place} refuses the connection; check the port, and that {refused}"
    return f"no connection to {place}: {error}; check address, cable and power"
