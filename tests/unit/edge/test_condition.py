"""How the agent is, and what it says to do about it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.agents.authority import Authorities
from edge.certificate import Validity, days_left, read_validity
from edge.clock import ClockOffset, is_synchronised
from edge.condition import Condition
from edge.configuration import load_configuration
from edge.counters import Counters
from edge.enrolment.identity import AgentIdentity
from edge.enrolment.keys import make_request
from edge.messages import encode_status, shortened
from edge.outbox import Outbox, WhenFull
from edge.readings import Reading
from schemas.resources import MeterKind, Resource
from schemas.topics import AgentAddress
from schemas.wire import Health, OfferedMeter, Status

NOW_MS = 1_795_298_400_000
DAY_MS = 86_400_000
ADDRESS = AgentAddress(organisation="acme", site="hall", agent="a")


class Rig:
    """A condition with clocks of its own."""

    def __init__(self, folder: Path) -> None:
        self.now_ms, self.now_s = NOW_MS, 1_000.0
        config = folder / "edge.yaml"
        config.write_text(
            "organisation: acme\nsite: hall\nagent: a\nbroker: mqtt://127.0.0.1:1\ndrivers:\n"
            "  - {name: m, driver: modbus, host: h, profile: eastron-sdm630, meters: {oven: power}}\n"
        )
        self.configuration = load_configuration(config, {})
        self.counters = Counters()
        self.counters.online.set(1)
        self.counters.last._clock = lambda: self.now_s
        self.outbox = Outbox(
            folder / "outbox.sqlite", max_bytes=1_000_000, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: self.now_ms
        )
        self.condition = Condition(
            outbox=self.outbox,
            counters=self.counters,
            version="1.0",
            now_ms=lambda: self.now_ms,
            told=lambda: None,
            clock=lambda: self.now_s,
        )
        self.begin("oven")

    def begin(self, *meters: str) -> None:
        self.condition.begin(
            self.configuration,
            [
                OfferedMeter(
                    meter=meter,
                    resource=Resource.ENERGY,
                    unit="kW",
                    kind=MeterKind.RATE,
                    driver="m",
                    cadence_ms=60_000,
                )
                for meter in meters
            ],
        )


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000_000))
    rig = Rig(tmp_path)
    yield rig
    rig.outbox.close()


def test_meters_that_fall_silent_and_come_back(rig: Rig) -> None:
    assert [meter.state for meter in rig.condition.local_status().meters] == ["waiting"]
    rig.counters.last.note("m", [Reading(meter="oven", at_ms=NOW_MS, value=2.5, unit="kW")])
    rig.now_s += 179
    assert rig.condition.health().silent_meters == []
    rig.now_s += 2
    health = rig.condition.health()
    assert health.silent_meters == ["oven"]
    assert "nothing for three times the cadence from 1 of 1 meters (oven)" in health.problems[0]
    (meter,) = rig.condition.local_status().meters
    assert (meter.state, meter.value, meter.at) == ("silent", 2.5, NOW_MS)
    rig.counters.last.note("m", [Reading(meter="oven", at_ms=NOW_MS, value=3.0, unit="kW")])
    assert rig.condition.problems() == []


def test_a_clock_beside_the_collectors(rig: Rig) -> None:
    rig.condition.note_stored(said_ms=None)
    assert rig.condition.health().clock_ahead_ms is None
    rig.condition.note_stored(said_ms=NOW_MS - 90_000)
    rig.condition.note_stored(said_ms=NOW_MS - 61_500)
    health = rig.condition.health()
    assert health.clock_ahead_ms == 61_500
    assert "62 s ahead of the collector's" in health.problems[0]
    offset = ClockOffset()
    for said_ms in (NOW_MS + 500, NOW_MS + 400):
        offset.note(said_ms=said_ms, heard_ms=NOW_MS, steady_s=7.0)
    assert offset.ahead_ms == -500
    assert is_synchronised() in {True, False, None}


def test_a_clock_that_is_set_right_is_told_at_once(rig: Rig) -> None:
    """As on a machine that starts without a clock of its own, and gets the time a little later."""
    hour_ms = 3_600_000
    rig.condition.note_stored(said_ms=NOW_MS + hour_ms)
    assert "3600 s behind the collector's" in rig.condition.problems()[0]
    rig.now_ms += hour_ms + 10_000
    rig.now_s += 10.0
    rig.condition.note_stored(said_ms=NOW_MS + hour_ms + 9_900)
    assert rig.condition.health().clock_ahead_ms == 100
    assert rig.condition.problems() == []


def test_a_disk_that_fills(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9_000_000))
    assert "only 9 MB are free" in rig.condition.problems()[0]

    def away(_: object) -> Any:
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", away)
    assert rig.condition.health().disk_free_bytes is None


def test_everything_stays_within_the_bounds_of_the_message(rig: Rig) -> None:
    rig.begin(*(f"meter-{n}" for n in range(3_000)))
    rig.now_s += 1_000
    for n in range(80):
        rig.counters.note_obstacle(f"o{n}", "x" * 900)
    health = rig.condition.health()
    assert (len(health.silent_meters), len(health.problems), max(map(len, health.problems))) == (1_000, 50, 500)
    sizes = []
    for shorter in shortened(health):
        payload = encode_status(online=True, at_ms=NOW_MS, version="1", outbox=None, health=shorter)
        assert Status.model_validate_json(payload).health == shorter
        sizes.append(len(payload))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 5_000
    assert Health().problems == []


def test_a_certificate_that_was_not_renewed(tmp_path: Path) -> None:
    validity = Validity(since_ms=NOW_MS, until_ms=NOW_MS + 90 * DAY_MS)
    assert validity.problem(NOW_MS + 71 * DAY_MS) is None
    assert "expires in 17 days and was not renewed" in (validity.problem(NOW_MS + 73 * DAY_MS) or "")
    assert "has expired" in (validity.problem(NOW_MS + 90 * DAY_MS) or "")
    assert days_left(NOW_MS - 1, NOW_MS) == -1
    assert read_validity(None) is None
    assert read_validity(tmp_path / "none.pem") is None


def test_from_when_to_when_a_certificate_is_valid(tmp_path: Path) -> None:
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    authority = Authorities(tmp_path / "authorities", now=now).of("acme", now=now)
    issued = authority.issue_agent(make_request().csr, ADDRESS, now=now, valid=timedelta(days=90))
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(issued.chain)
    assert read_validity(certificate) == Validity(since_ms=NOW_MS - 300_000, until_ms=NOW_MS + 90 * DAY_MS)
    identity = AgentIdentity(
        organisation="acme", site="hall", agent="a", server="s", broker="b", issued_at=1, not_after=NOW_MS
    )
    (tmp_path / "identity.json").write_text(identity.model_dump_json())
    assert read_validity(certificate) == Validity(since_ms=1, until_ms=NOW_MS)
