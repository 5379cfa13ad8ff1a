"""Names of time zones, those of them that mean the same on every computer."""

from __future__ import annotations

from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator


@cache
def zone_names() -> frozenset[str]:
    """All of them."""
    # Files beside the zones: with leap seconds (right/), and others that mean another thing on each computer.
    return frozenset(
        name
        for name in available_timezones()
        if not name.startswith(("right/", "posix/")) and name not in {"posixrules", "localtime", "Factory"}
    )


def _known_zone(name: str) -> str:
    if name not in zone_names():
        raise ValueError(f"{name!r} is not a time zone; write it like Europe/Copenhagen")
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]
