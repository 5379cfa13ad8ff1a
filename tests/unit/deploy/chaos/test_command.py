"""What `afkobling chaos` refuses before it starts anything, and how it tells what came of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.chaos import run
from deploy.chaos.evidence import Evidence
from deploy.chaos.run import ChaosSettings, Outcome
from deploy.chaos.verdict import judge
from deploy.cli import main
from tests.unit.deploy.chaos.test_verdict import GOOD


def outcome(evidence: Evidence, folder: Path | None = None) -> Outcome:
    verdict = judge(evidence)
    return Outcome(
        settings=ChaosSettings(minutes=1, faults=2, seed=3),
        injected={"agent killed": 2},
        came_to_nothing={"connections cut": 1},
        forgetful_broker_kills=0,
        seconds=12.34,
        settling_seconds=2.0,
        verdict=verdict,
        findings=verdict.findings,
        folder=folder,
    )


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been run."""
    found: list[Any] = []

    def pretend(settings: ChaosSettings, **_: Any) -> Outcome:
        found.append(settings)
        return outcome(GOOD)

    monkeypatch.setattr(run, "run_chaos", pretend)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--minutes", "0"), "minutes are more than 0"),
        (("--minutes", "nan"), "minutes are more than 0"),
        (("--minutes", "inf"), "minutes are more than 0"),
        (("--faults", "0"), "1 to 2000 faults a minute"),
        (("--faults", "2001"), "1 to 2000 faults a minute"),
    ],
    ids=["no-time", "nan", "endless", "none", "too-many"],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, str], told: str, started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chaos", *words]) == 1
    assert told in capsys.readouterr().err
    assert started == []


def test_unless_told_otherwise_there_are_twenty_faults_a_minute(started: list[Any]) -> None:
    assert main(["chaos", "--minutes", "2.5", "--seed", "7"]) == 0
    assert started == [ChaosSettings(minutes=2.5, faults=50, seed=7, collectors=2, persistence="both")]


def test_words_for_a_good_run(started: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos"]) == 0
    said = capsys.readouterr().out
    assert "2  agent killed" in said
    assert "FOUND" not in said
    assert "DOES NOT AGREE" not in said


def test_a_finding_is_told_and_is_a_failure(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = outcome(Evidence(**{**{n: getattr(GOOD, n) for n in GOOD.__dataclass_fields__}, "stored": GOOD.stored[1:]}))
    monkeypatch.setattr(run, "run_chaos", lambda *_args, **_more: bad)
    assert main(["chaos"]) == 1
    assert "FOUND: 1 readings are lost: gas at 1795298400000" in capsys.readouterr().out
    assert main(["chaos", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["lost"], told["faults"]) == (False, 1, 2)
    assert told["findings"] == bad.findings
