"""Loopback ports for the two servers."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path

from deploy.stack.errors import StackTransientError
from deploy.stack.folders import LOOPBACK, Ports

_LOWEST = 20_000


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now. Closed connections that linger do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def becomes_free(port: int, *, timeout_s: float) -> bool:
    """Wait for the port; False when something listens there still. A killed server's port may take a moment."""
    deadline = time.monotonic() + timeout_s
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def choose(*taken: int) -> int:
    """A free port that is not among `taken`.

    Below the range that the system gives to outgoing connections: a client that tries a dead server's port from
    that range again and again may end up connected to itself, and then holds the port.
    """
    for _ in range(1000):
        port = random.randrange(_LOWEST, max(_outgoing_from(), _LOWEST + 1000))  # noqa: S311 - no secret
        if port not in taken and is_free(port):
            return port
    raise StackTransientError(
        f"No free port was found on {LOOPBACK} from {_LOWEST} upwards. Stop what holds them and try again."
    )


def settle(kept: Ports | None, *, database_runs: bool, broker_runs: bool, listen: str | None = None) -> Ports:
    """The ports to use: the kept ones, save those of a stopped server whose port something else took meanwhile.

    `listen`: where the broker shall serve agents from now on; None: where it did before.
    """
    database = kept.database if kept else None
    broker = kept.broker if kept else None
    agents = kept.agents if kept else None
    if database is None or not (database_runs or becomes_free(database, timeout_s=2)):
        database = choose(*(port for port in (broker, agents) if port))
    if broker is None or not (broker_runs or becomes_free(broker, timeout_s=2)):
        broker = choose(*(port for port in (database, agents) if port))
    if agents is None or not (broker_runs or becomes_free(agents, timeout_s=2)):
        agents = choose(database, broker)
    return Ports(database=database, broker=broker, agents=agents, listen=listen or (kept.listen if kept else LOOPBACK))


def _outgoing_from() -> int:
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        return int(text.split()[0])
    return 32_768
