from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from edge.simulation.workshop import Workshop, build_workshop

ZONE = ZoneInfo("Europe/Copenhagen")


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    """Two calendar years and a week, seed 1."""
    return build_workshop(seed=1, start=datetime(2024, 1, 1, tzinfo=ZONE), end=datetime(2026, 1, 8, tzinfo=ZONE))
