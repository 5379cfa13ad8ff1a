"""The ledger, and dropping from the quarantine, as a person types them."""

from __future__ import annotations

import getpass
import json

import pytest

from deploy.cli import main
from tests.integration.api.test_ledger_routes import enter, quarantine, report

pytestmark = pytest.mark.stack


@pytest.fixture
def run(database_url, site, capsys):
    def command(*words: str, status: int = 0) -> str:
        assert main([*words, "--database-url", database_url]) == status
        captured = capsys.readouterr()
        return str(captured.err if status == 1 else captured.out)

    return command


def age(connection, minutes: int) -> None:
    connection.execute(
        "UPDATE ledger SET last_at = last_at - make_interval(mins => %(m)s),"
        " missing_since = missing_since - make_interval(mins => %(m)s)",
        {"m": minutes},
    )


def test_everything_is_there(run, connection):
    assert run("ledger") == "nothing has come from any agent yet\n"
    enter(connection, "a")
    report(connection, "a", readings=100, last_seq=10)
    header, line, verdict = run("ledger").splitlines()
    assert header.split() == ["agent", "and", "epoch", "sent", "stored", "repeated", "quarantined", "verdict"]
    assert line.split() == ["acme/odense/a", "e1", "100", "90", "7", "3", "complete"]
    assert verdict == "complete: nothing is missing; 3 readings are in quarantine"


def test_what_is_missing_is_told_by_number_and_status(run, connection):
    enter(connection, "a", stored_seq=10, highest_seq=20, ahead=[12, 13, 17, 20])
    report(connection, "a", readings=104, last_seq=22, waiting=12, dropped_readings=2)
    enter(connection, "b")
    assert "nothing is missing; 8 messages are on their way" in run("ledger")
    age(connection, 20)
    text = run("ledger", status=3)
    assert "6 messages missing: 11, 14-16, 18-19; 2 not arrived yet, after 20" in text
    assert text.splitlines()[-1].startswith("missing: 8 messages of 1 agent since ")
    detail = run("ledger", "--agent", "a", status=3)
    for said in (
        "acme/odense/a e1  (its outbox now)",
        "sent         104 readings, as it says itself",
        "given up     2 readings by the agent",
        "12 came, all up to 10, the highest 20; the agent's last is 22",
        "waiting      12 messages",
        "agent        online, at",
    ):
        assert said in detail
    assert "complete: nothing is missing" in run("ledger", "--agent", "b")
    (item,) = json.loads(run("ledger", "--agent", "a", "--json", status=3))["items"]
    assert (item["verdict"], item["missing"][1]) == ("missing", {"from": 14, "to": 16})
    table = run("ledger", "--format", "csv", status=3).splitlines()
    assert len(table) == 3
    assert "missing_messages" in table[0]


def test_plain_readings_and_other_organisations(run, connection):
    enter(connection, "a", epoch="", stored_seq=0, highest_seq=0)
    enter(connection, "z", organisation="rival")
    assert "plain readings have no numbers" in run("ledger")
    assert "rival" not in run("ledger")
    assert "rival/odense/z e1" in run("ledger", "--all")
    assert "nothing has come from an agent z at acme/odense" in run("ledger", "--agent", "z", status=1)
    assert "rival/odense/z" in run("ledger", "--agent", "z", "--all")


def test_many_holes_are_cut_short(run, connection):
    enter(connection, "a", stored_seq=0, highest_seq=60, ahead=range(2, 61, 2))
    text = run("ledger")
    assert "30 messages missing: 1, 3, 5," in text
    assert "39, …" in text
    assert ", 41" not in text


def test_drop_show_and_reopen(run, connection):
    first, second = (quarantine(connection, b"{%d" % i, reason="unknown meter") for i in range(2))
    assert "say which entries" in run("quarantine", "drop", "--because", "x", status=1)
    assert "because" in run("quarantine", "drop", "--id", str(first), "--because", "  ", status=1)
    assert "quarantine: 2 messages" in run("quality")
    text = run("quarantine", "drop", "--agent", "a", "--reason", "unknown meter", "--because", "a test rig")
    assert text.splitlines() == ["dropped 2 entries with 4 readings", "    2  unknown meter"]
    assert "quarantine:" not in run("quality")
    assert run("quarantine", "list") == "nothing of that kind is in quarantine\n"
    listed = run("quarantine", "list", "--state", "dropped")
    assert listed.count("  dropped 20") == 2
    shown = run("quarantine", "show", str(first))
    assert f"dropped  {getpass.getuser()}: a test rig" in shown
    assert f"entry {first} is dropped; only what waits" in run(
        "quarantine", "drop", "--id", str(first), "--because", "x", status=1
    )
    run("quarantine", "reopen", "--id", str(first), "--because", "it was none", "--author", "Inge")
    assert f"entry {first} is waiting; only what was dropped" in run(
        "quarantine", "reopen", "--id", str(first), "--because", "x", status=1
    )
    assert "reopened  Inge: it was none" in run("quarantine", "show", str(first))
    assert "tried 1 entries" in run("quarantine", "replay", "--because", "once more", "--author", "Inge")
    assert "Inge: once more" in run("quarantine", "show", str(first))
    assert "no entry 9999" in run("quarantine", "drop", "--id", "9999", "--because", "x", status=1)
    found = json.loads(run("quarantine", "drop", "--all", "--because", "all of it", "--json"))
    assert set(found) == {"entries", "readings", "reasons"}
    assert json.loads(run("quarantine", "show", str(second), "--json"))["state"] == "dropped"


def test_a_drop_needs_its_reason(run):
    with pytest.raises(SystemExit) as ended:
        main(["quarantine", "drop", "--all"])
    assert ended.value.code == 2
