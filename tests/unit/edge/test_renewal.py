"""When the agent renews, how it goes on when that fails, and what it tells."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import pytest

import edge.renewal
from edge.configuration import TlsSettings
from edge.counters import Counters
from edge.enrolment.identity import IDENTITY, AgentIdentity
from edge.errors import EdgePermanentError, EdgeTransientError
from edge.renewal import Renewal, renew_apart

DAY_MS = 86_400_000
ME = AgentIdentity(
    organisation="acme", site="hall", agent="a", server="http://127.0.0.1:1", broker="mqtts://h", issued_at=0,
    not_after=90 * DAY_MS,
)  # fmt: skip


class Settings:
    """What a renewal needs of the agent's configuration."""

    def __init__(self, folder: Path | None) -> None:
        self.tls = TlsSettings(certificate=folder and folder / "certificate.pem", key=folder and folder / "key.pem")


class Trial:
    """A renewal with a clock and a server of ours."""

    def __init__(self, folder: Path, outcome: Callable[[], None]) -> None:
        self.counters = Counters()
        self.told: list[str] = []
        self.heard = asyncio.Event()
        self.asked = 0
        self.now_ms = 0
        self.outcome = outcome
        self.folder = folder
        write(folder, ME)
        self.renewal = Renewal(
            Settings(folder),  # type: ignore[arg-type]
            self.counters,
            renewed=self._renewed,
            renew=self._renew,
            now_ms=lambda: self.now_ms,
        )

    def _renewed(self) -> None:
        self.told.append("renewed")
        self.heard.set()

    async def _renew(self, folder: Path) -> None:
        self.asked += 1
        self.outcome()
        write(folder, ME.model_copy(update={"issued_at": self.now_ms, "not_after": self.now_ms + 90 * DAY_MS}))

    async def on(self, day: float) -> float:
        self.now_ms = round(day * DAY_MS)
        return await self.renewal._turn(self.folder)

    @property
    def words(self) -> list[str]:
        return [line for line in self.counters.problems() if "broker" not in line]

    def count(self, name: str) -> float:
        return self.counters.registry.get_sample_value(f"afkobling_edge_{name}") or 0.0


def write(folder: Path, identity: AgentIdentity) -> None:
    (folder / IDENTITY).write_text(identity.model_dump_json(), "utf-8")


def fine() -> None:
    """The server answers."""


def away() -> None:
    raise EdgeTransientError("the server cannot be reached")


def revoked() -> None:
    raise EdgePermanentError("this certificate was revoked; enrol the agent anew")


async def test_it_renews_in_the_last_third_and_says_so(tmp_path: Path) -> None:
    trial = Trial(tmp_path, fine)
    for day in (0, 30, 59):
        assert 40 < await trial.on(day) < 80
    assert (trial.asked, trial.told) == (0, [])
    assert trial.count("certificate_days") == 31
    await trial.on(60.5)
    assert (trial.asked, trial.told) == (1, ["renewed"])
    assert trial.count("certificate_days") == 90
    await trial.on(61)
    assert trial.asked == 1


async def test_it_tries_again_further_and_further_apart_and_tells_when_time_is_short(tmp_path: Path) -> None:
    trial = Trial(tmp_path, away)
    waits = [await trial.on(62) for _ in range(9)]
    assert waits[0] < 130 < waits[4] < waits[8] <= 3600 * 2
    assert trial.words == []
    assert trial.count("renewal_failures_total") == 9
    await trial.on(77)
    assert trial.words == [
        "this agent's certificate expires on 1970-04-01, and cannot be renewed: the server cannot be reached"
    ]
    await trial.on(91)
    assert "expired on 1970-04-01" in trial.words[0]
    trial.outcome = fine
    await trial.on(89)
    assert trial.words == []
    assert trial.told == ["renewed"]


async def test_what_will_not_pass_is_told_at_once(tmp_path: Path) -> None:
    trial = Trial(tmp_path, revoked)
    await trial.on(61)
    assert "enrol the agent anew" in trial.words[0]
    # Somebody did.
    write(tmp_path, ME.model_copy(update={"issued_at": 61 * DAY_MS, "not_after": 151 * DAY_MS}))
    await trial.on(61.01)
    assert (trial.words, trial.told, trial.asked) == ([], ["renewed"], 1)


async def test_files_of_ones_own_are_left_alone(tmp_path: Path) -> None:
    trial = Trial(tmp_path, fine)
    (tmp_path / IDENTITY).unlink()
    await trial.on(1000)
    assert (trial.asked, trial.words) == (0, [])
    assert math.isnan(trial.count("certificate_days"))
    (tmp_path / IDENTITY).write_text("{", "utf-8")
    await trial.on(1000)
    assert "is damaged" in trial.words[0]
    without = Renewal(Settings(None), Counters(), renewed=fine)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await without.run()


async def test_the_process_of_its_own_says_why_not(tmp_path: Path) -> None:
    with pytest.raises(EdgePermanentError, match="holds no agent's files"):
        await renew_apart(tmp_path)


async def test_it_ends_when_it_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.renewal, "_LOOK_S", 0.001)
    trial = Trial(tmp_path, fine)
    trial.now_ms = 61 * DAY_MS
    running = asyncio.create_task(trial.renewal.run())
    async with asyncio.timeout(20):
        await trial.heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
