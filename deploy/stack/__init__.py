"""The local stack: a real TimescaleDB and a real Mosquitto, without Docker and without root.

Import from here; the modules beside it are its parts.
"""

from deploy.stack.addresses import Endpoints, masked, on_database
from deploy.stack.errors import StackError, StackPermanentError, StackTransientError
from deploy.stack.stack import (
    Pids,
    down,
    endpoints,
    pids,
    reset,
    restart_broker,
    restart_database,
    up,
)
from deploy.stack.state import ServerStatus, StackStatus, status

__all__ = [
    "Endpoints",
    "Pids",
    "ServerStatus",
    "StackError",
    "StackPermanentError",
    "StackStatus",
    "StackTransientError",
    "down",
    "endpoints",
    "masked",
    "on_database",
    "pids",
    "reset",
    "restart_broker",
    "restart_database",
    "status",
    "up",
]
