"""What can go wrong with the local stack, and the way out that is the same for most of it."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import AfkoblingError, PermanentError, TransientError


class StackError(AfkoblingError):
    """Root of everything that the local stack raises on purpose."""


class StackPermanentError(StackError, PermanentError):
    """The machine, the folder or the settings must change before it can work."""


class StackTransientError(StackError, TransientError):
    """A server or the network is away; trying again may help."""


def other_way() -> str:
    """The advice for a machine on which the private runtime cannot work."""
    advice = (
        "Install PostgreSQL 17 with TimescaleDB, and Mosquitto, with your operating system's tools (on"
        " Debian 13: postgresql-17-timescaledb and mosquitto); or use servers that you already have, by"
        " setting AFKOBLING_DATABASE_URL and AFKOBLING_BROKER_URL"
    )
    compose = Path(__file__).resolve().parents[1] / "compose.yaml"
    if compose.exists():
        advice += f"; or start both with Docker: docker compose -f {compose} up"
    return advice + "."
