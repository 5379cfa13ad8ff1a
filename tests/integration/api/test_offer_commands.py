"""Offers, adoption, quarantine and replays as a person types them."""

from __future__ import annotations

import json

import pytest

from deploy.cli import main
from tests.integration.api.offering import FULL, OVEN, deliver

pytestmark = pytest.mark.stack


@pytest.fixture
def run(database_url, site, capsys):
    def command(*words: str, status: int = 0) -> str:
        assert main([*words, "--database-url", database_url]) == status
        captured = capsys.readouterr()
        return str(captured.err if status else captured.out)

    return command


def test_offered_and_adopted(run, offer, read, connection):
    offer(FULL, {**OVEN, "meter": "good", "resource": "production", "unit": "pcs"})
    read(1, 5.0, 4.0)
    text = run("meters", "offered")
    assert "oven  new  agent cabinet-1  energy electricity counter kWh" in text
    assert "2 readings wait in quarantine, 2025-12-31 23:59:58 to 2025-12-31 23:59:59 UTC, the last 5 kWh" in text
    assert "to adopt it: a production meter's carrier is one of good, scrap, rework" in text
    assert json.loads(run("meters", "offered", "--json", "--state", "known"))["items"] == []
    assert "carrier is one of" in run("meters", "adopt", "cabinet-1", "good", status=1)
    text = run("meters", "adopt", "cabinet-1", "oven", "--line", "line-1", "--max-gap", "1h")
    assert "set up meter oven: energy, counter, kWh, line line-1" in text
    assert "tried 1 entries: 2 readings stored, 0 were there already" in text
    assert connection.execute("SELECT count(*) FROM reading").fetchone() == (2,)
    printed = json.loads(run("meters", "adopt", "cabinet-1", "--all", "--carrier", "good", "--json"))
    assert ([m["id"] for m in printed["meters"]], printed["replay"]["state"]) == (["good"], "done")
    assert "offers nothing new" in run("meters", "adopt", "cabinet-1", "--all", status=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cabinet-1"], "name the meters to adopt, or give --all"),
        (["cabinet-1", "oven", "--all"], "name the meters to adopt, or give --all"),
        (["cabinet-1", "a", "b", "--name", "x"], "--name is for one meter"),
        (["cabinet-1", "a"], "offers no meter a"),
        (["cabinet-1", "main"], "offers no meter|is set up already"),
    ],
)
def test_wrong_wishes(run, words, said):
    assert any(part in run("meters", "adopt", *words, status=1) for part in said.split("|"))


def test_quarantine_listed_shown_and_replayed(run, read, connection, database_url):
    read(1, 5.0, unit="MWh", meter="main")
    deliver(database_url, b"\xff", to="gossip/\u00e6")
    (item,) = json.loads(run("quarantine", "list", "--json"))["items"]
    assert (item["reason"], item["agent"]) == ("wrong unit", "cabinet-1")
    assert "gossip" not in run("quarantine", "list")
    assert "foreign topic" in run("quarantine", "list", "--all", "--reason", "foreign topic")
    text = run("quarantine", "show", str(item["id"]))
    assert "sent in 'MWh', set up in 'kWh'" in text
    assert '"value":[5.0]' in text
    assert "there is no entry 999" in run("quarantine", "show", "999", status=1)
    assert "there is no entry 999" in run("quarantine", "replay", "--id", "999", status=1)
    text = run("quarantine", "replay", "--meter", "main", "--agent", "cabinet-1")
    assert text == ("tried 1 entries: 0 readings stored, 0 were there already\nstill in quarantine: 1, wrong unit\n")
    connection.execute("UPDATE meter SET unit = 'MWh', to_canonical = 1000 WHERE key = 'main'")
    assert "1 readings stored" in run("quarantine", "replay", "--reason", "wrong unit")
    assert run("quarantine", "list") == "nothing of that kind is in quarantine\n"
    assert "replayed" in run("quarantine", "list", "--state", "all")
    assert "of it 1 readings were stored" in run("quarantine", "show", str(item["id"]))
    printed = json.loads(run("quarantine", "replay", "--all", "--json"))
    assert (printed["tried"], printed["refused"]) == (1, {"foreign topic": 1})
    connection.execute("INSERT INTO quarantine_replay (organisation) VALUES ('acme')")
    assert "every replay" in run("quarantine", "replay", "--unfinished")
    assert connection.execute("SELECT count(*) FROM quarantine_replay WHERE finished_at IS NULL").fetchone() == (0,)
