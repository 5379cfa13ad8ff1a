"""Instants as they are typed where no site's clock is meant."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.errors import PermanentError


class InstantError(PermanentError):
    """What was typed is no instant."""


def parse_instant(text: str) -> datetime:
    """An instant with its offset, or a date: its midnight in UTC. Raises InstantError."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise InstantError(f"{text!r} is no instant; write 2026-01-31 or 2026-01-31T12:00+01:00") from None
    if instant.tzinfo is None:
        if "T" in text or " " in text.strip():
            raise InstantError(f"{text!r} lacks its offset from UTC; write 2026-01-31T12:00+01:00")
        instant = instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)
