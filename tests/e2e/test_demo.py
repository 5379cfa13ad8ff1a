"""The demo, as a newcomer runs it: every part a process of its own, the answers from the API."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Servers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

STEEL = Path(__file__).parents[3] / "shared" / "data" / "steel_industry_2018.csv"


def _demo(database_url: str, servers: Servers, *arguments: str) -> dict[str, Any]:
    named = {"BROKER_URL": servers.broker_url, "DATABASE_URL": database_url}
    if servers.agent_broker_url is not None:
        named |= {"AGENT_BROKER_URL": servers.agent_broker_url, "AUTHORITY_DIR": str(servers.authority_dir)}
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "demo", "--once", "--json", *arguments],
        env={**os.environ, **{f"AFKOBLING_{name}": value for name, value in named.items()}},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    _assert_said(done.stderr, outcome, servers)
    return outcome


def _assert_said(words: str, outcome: dict[str, Any], servers: Servers) -> None:
    """Every agent came in with a certificate, which the demo tells of, and of no secret."""
    told = [agent["topic"] for agent in outcome["agents"]]
    if servers.agent_broker_url is None:
        assert told == []
        assert "AFKOBLING_AGENT_BROKER_URL" in words
        return
    place = f"afkobling/v1/{outcome['organisation']}/{outcome['site']}"
    assert len(told) >= 1
    assert len(set(told)) == len(told)
    for topic in told:
        assert topic.startswith(f"{place}/")
        assert f"may publish {topic}" in words
    for secret in (str(urlsplit(servers.broker_url).password), str(urlsplit(servers.database_url).password)):
        assert secret not in words
    assert not re.search("#[0-9A-Z]{5}-", words), "an enrolment code"


def test_the_workshop_comes_to_its_true_verdicts(database_url: str, stack: Servers) -> None:
    outcome = _demo(database_url, stack)
    assert outcome["verdicts"] == {
        "energy": "absolute",
        "water": "relative",
        "material": "relative",
        "waste": "none",
        "co2_location": "absolute",
        "co2_market": "absolute",
    }
    assert outcome["true_verdicts"] == outcome["verdicts"]
    assert len(outcome["intensity"]) == 18
    for item in outcome["intensity"]:
        assert item["value"] == pytest.approx(item["truth"], rel=1e-3), item
        assert item["fully_loaded"] == pytest.approx(item["fully_loaded_truth"], rel=1e-3), item
        assert item["value_low"] <= item["truth"] <= item["value_high"], item
        assert item["fully_loaded_low"] <= item["fully_loaded_truth"] <= item["fully_loaded_high"], item
        # Each hour has its own factor of the grid; gas has the same in all.
        is_carbon = item["indicator"].startswith("co2")
        assert (item["resource"] is None, item["factor_share"]) == (is_carbon, 1 if is_carbon else None), item
        if item["indicator"] == "co2_location":
            assert (item["hourly_share"] == 1) == (item["product"] == "bracket"), item
    for item in outcome["consumption"]:
        # Registers show steps of a hundredth or a whole piece; truth has no steps.
        assert item["total"] == pytest.approx(item["truth"], rel=1e-5, abs=1.0), item
        assert item["coverage"] == 1
    ledger = outcome["ledger"]
    assert ledger["sent"] == ledger["stored"] > 1_000_000
    assert (ledger["quarantined"], ledger["missing_messages"]) == (0, 0)
    assert outcome["planted"] == outcome["findings"] == []


def test_what_is_planted_is_what_the_quality_finds(database_url: str, stack: Servers) -> None:
    outcome = _demo(database_url, stack, "--faults")
    planted, found = (
        sorted((item["kind"], item["meter"] or "", item["agent"] or "") for item in outcome[name])
        for name in ("planted", "findings")
    )
    assert found == planted
    assert len(planted) == 13


def test_a_file_of_one_s_own_goes_the_same_way(tmp_path: Path, database_url: str, stack: Servers) -> None:
    file = tmp_path / "oven.csv"
    rows = [f"2025-03-{day:02}T06:00:00+01:00,oven,{100.0 + day * 2.5},kWh,energy,counter" for day in range(1, 32)]
    file.write_text("\n".join(["at,meter,value,unit,resource,kind", *rows, ""]), "utf-8")
    outcome = _demo(database_url, stack, "--replay", str(file))
    [meter] = outcome["consumption"]
    assert (meter["meter"], meter["unit"], meter["total"]) == ("oven", "kWh", 75.0)
    # A day between two readings is far beyond max_gap: the total is kept, and said to be estimated.
    assert (meter["measured"], meter["estimated"]) == (0, 75.0)
    assert outcome["verdicts"] == dict.fromkeys(("energy", "co2_location", "co2_market"), "not_assessable")
    assert outcome["ledger"]["stored"] == outcome["ledger"]["sent"] == 31


def test_a_given_broker_that_nobody_explains_is_used_as_it_is(
    tmp_path: Path, database_url: str, stack: Servers
) -> None:
    file = tmp_path / "oven.csv"
    file.write_text("at,meter,value,unit,resource,kind\n2025-03-01T06:00:00Z,oven,1,kWh,energy,counter\n", "utf-8")
    unexplained = replace(stack, agent_broker_url=None, authority_dir=None)
    assert _demo(database_url, unexplained, "--replay", str(file))["ledger"]["stored"] == 1


@pytest.mark.skipif(not STEEL.exists(), reason=f"the measured data is not here: {STEEL}")
def test_a_year_of_a_real_steel_works_keeps_its_sum(database_url: str, stack: Servers) -> None:
    outcome = _demo(database_url, stack, "--replay", str(STEEL))
    [meter] = outcome["consumption"]
    assert (meter["unit"], meter["total"], meter["estimated"], meter["coverage"]) == ("kWh", 959_636.71, 0, 1)
    assert outcome["ledger"]["stored"] == outcome["ledger"]["sent"] == 35_040
    assert any("365 rows stand out of order" in note for note in outcome["notes"])


def test_a_file_that_nobody_knows_gets_a_mapping_to_fill_in(tmp_path: Path) -> None:
    file = tmp_path / "strange.csv"
    file.write_text("Zeit;Zählerstand\n01.03.2025 06:00;17,5\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "demo", "--once", "--replay", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Zählerstand" in done.stderr
    assert "Traceback" not in done.stderr
