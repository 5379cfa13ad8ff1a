"""The commands events, exchange and reading, as a technician types them."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime, timedelta

import pytest

from api.exact_json import instant
from api.said import unix_ms
from deploy.cli import main
from tests.integration.api.conftest import AT, MINUTE, Found, Store, notes

pytestmark = pytest.mark.stack

WHY = ["--reason", "read the dial", "--author", "Anna"]


@pytest.fixture
def run(database_url, capsys):
    """Run a command; its exit status, what it printed and what it complained of."""

    def command(*words) -> tuple[int, str, str]:
        status = main([*words, "--database-url", database_url])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


@pytest.fixture
def dip(connection, site) -> str:
    store = Store(connection)
    store.read("main", AT, 2)
    return Found(store)("main", "dip", until=AT + MINUTE, readings=2, before_at=AT - MINUTE, before_value=1010.0)


class TestEvents:
    def test_list_and_show(self, run, dip):
        status, out, _ = run("events", "list")
        assert status == 0
        assert out == (
            f"{dip}  proposed: set_aside\n"
            "    2026-03-02 10:00 to 2026-03-02 10:01: The register fell from 1010 kWh to 2 kWh (2 readings). These "
            "readings are set aside, as if they had not come.\n"
        )
        assert run("events", "list", "--meter", "water", "--kind", "dip")[1] == "no such events\n"
        assert run("events", "list", "--to", "2026-03-02", "--state", "proposed")[1] == "no such events\n"
        _, out, _ = run("events", "show", dip)
        assert "can be decided: set_aside, reset, restart\n" in out
        assert "2026-03-02T09:00:00Z  2 kWh  good\n" in out

    def test_json_is_what_the_api_answers(self, run, dip):
        page = json.loads(run("events", "list", "--json")[1])
        assert ([item["id"] for item in page["items"]], page["next"]) == ([dip], None)
        shown = json.loads(run("events", "show", dip, "--json")[1])
        assert {**shown, **page["items"][0]} == shown
        assert shown["history"] == []

    def test_a_list_that_is_cut_says_so(self, run, connection, dip):
        Found(Store(connection))("main", "spike")
        assert "there are more" in run("events", "list", "--limit", "1")[1]
        assert "there are more" not in run("events", "list", "--limit", "2")[1]

    def test_confirm_overrule_reopen(self, run, connection, dip):
        status, out, _ = run("events", "overrule", dip, *WHY)
        assert (status, out.splitlines()[0]) == (0, f"{dip}  overruled: reset")
        assert "    Anna: read the dial\n" in out
        assert notes(connection) == [("main", AT - MINUTE, AT + MINUTE)]
        assert run("events", "overrule", dip, "--decision", "restart", *WHY)[0] == 0
        assert run("events", "reopen", dip, *WHY)[0] == 0
        notes(connection)
        status, out, _ = run("events", "confirm", dip, "--reason", "it came back", "--json")
        assert (status, json.loads(out)["author"]) == (0, getpass.getuser())
        history = json.loads(run("events", "show", dip, "--json")[1])["history"]
        assert [(v["state"], v["decision"]) for v in history] == [
            ("overruled", "reset"),
            ("overruled", "restart"),
            ("proposed", None),
            ("confirmed", "set_aside"),
        ]

    def test_set_aside(self, run, connection, dip):
        status, out, _ = run("events", "set-aside", "--meter", "main", "--from", instant(AT), *WHY)
        assert (status, out.splitlines()[0]) == (0, f"main:spike:{unix_ms(AT)}  confirmed: set_aside")
        assert notes(connection) == [("main", AT, AT)]

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["confirm", "main:dip:5"], "there is no event main:dip:5"),
            (["confirm", "nonsense"], "meter:kind:milliseconds"),
            (["overrule", "DIP", "--decision", "count"], "one of these can be decided: set_aside, reset"),
            (["overrule", "DIP", "--decision", "nonsense"], "decision: Input should be"),
            (["overrule", "DIP", "--decision", "rollover"], "add it to the site model"),
            (["confirm", "DIP", "--author", " "], "author: "),
            (["reopen", "DIP"], "nothing to take back"),
            (["set-aside", "--meter", "water", "--from", "2026-03-02"], "no reading"),
            (["set-aside", "--meter", "none", "--from", "2026-03-02"], "no such meter"),
            (["set-aside", "--meter", "main", "--from", "noon"], "from: write a date"),
        ],
    )
    def test_what_is_refused(self, run, connection, dip, words, complaint):
        words = [dip if word == "DIP" else word for word in words]
        if "--author" not in words:
            words += ["--author", "Anna"]
        status, out, err = run("events", *words, "--reason", "read the dial")
        assert (status, out) == (1, "")
        assert err.startswith("afkobling: ")
        assert complaint in err
        assert connection.execute("SELECT count(*) FROM event_decision").fetchone() == (0,)


class TestExchange:
    RECORD = ("exchange", "record", "--meter", "main", "--at", instant(AT), "--last-old", "1010.5", "--first-new", "0")

    def test_record_list_withdraw(self, run, connection, site):
        status, out, _ = run(*self.RECORD, *WHY)
        key = f"main:{unix_ms(AT)}"
        assert (status, out.splitlines()[0]) == (0, f"{key}  2026-03-02T09:00:00Z")
        assert "1010.5 → 0 kWh  Anna: read the dial" in out
        assert notes(connection) == [("main", AT, AT)]
        assert run("exchange", "withdraw", key, *WHY)[0] == 0
        assert "withdrawn  Anna: read the dial" in run("exchange", "list")[1]
        page = json.loads(run("exchange", "list", "--meter", "main", "--json")[1])
        assert [len(item["versions"]) for item in page["items"]] == [2]
        assert run("exchange", "list", "--from", "2026-03-03")[1] == "no such exchanges\n"

    def test_what_is_refused(self, run, connection, site):
        assert "no exchange main:5" in run("exchange", "withdraw", "main:5", *WHY)[2]
        status, _, err = run(*self.RECORD[:-1], "nan", *WHY)
        assert (status, "first_new: " in err) == (1, True)
        assert "no meter none" in run("exchange", "list", "--meter", "none")[2]
        assert connection.execute("SELECT count(*) FROM meter_exchange").fetchone() == (0,)


class TestReading:
    def test_add_list_withdraw(self, run, connection, site):
        Store(connection).read("water", AT, 88025)
        key = f"water:{unix_ms(AT)}"
        words = ["reading", "add", "--meter", "water", "--value", "880.25"]
        status, out, _ = run(*words, "--at", instant(AT), "--unit", "m3", *WHY)
        assert (status, out.splitlines()[0]) == (0, f"{key}  2026-03-02T09:00:00Z  (the meter said 88025 m3)")
        assert run("reading", "withdraw", key, *WHY)[0] == 0
        page = json.loads(run("reading", "list", "--json")[1])
        assert [version["value"] for version in page["items"][0]["versions"]] == [880.25, None]
        assert "withdrawn  Anna" in run("reading", "list", "--meter", "water")[1]

    def test_without_an_instant_it_is_now(self, run, connection, site):
        assert run("reading", "add", "--meter", "water", "--value", "7", *WHY)[0] == 0
        (at,) = connection.execute("SELECT at FROM manual_reading").fetchone()
        assert abs(datetime.now(UTC) - at) < timedelta(minutes=2)

    def test_what_is_refused(self, run, connection, site):
        words = ["reading", "add", "--meter", "water", "--value", "7", *WHY]
        assert "items.0.unit: water is in m3" in run(*words, "--unit", "l")[2]
        assert "2000" in run(*words, "--at", "1999-01-01")[2]
        assert "no manual reading water:5" in run("reading", "withdraw", "water:5", *WHY)[2]
        assert connection.execute("SELECT count(*) FROM manual_reading").fetchone() == (0,)


class TestWhichSite:
    def test_named_where_several_could_be_meant(self, run, dip, other_site):
        status, _, err = run("events", "list")
        assert (status, "say which with --site: acme/odense, rival/aarhus" in err) == (1, True)
        for name in ("odense", "acme/odense"):
            assert dip in run("events", "list", "--site", name)[1]
        assert run("events", "list", "--site", "aarhus")[1] == "no such events\n"
        assert "there is no site 'rival/odense'" in run("events", "list", "--site", "rival/odense")[2]

    def test_a_database_without_any(self, run):
        assert "afkobling site apply" in run("events", "list")[2]

    def test_a_database_that_takes_no_changes(self, run, connection, dip):
        (name,) = connection.execute("SELECT current_database()").fetchone()
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        assert "nothing was changed, try again later" in run("events", "confirm", dip, *WHY)[2]

    def test_a_database_that_is_away_or_none(self, capsys):
        for url, words in (("postgresql://127.0.0.1:1/x", "check that it runs"), ("nonsense", "not a database URL")):
            assert main(["events", "list", "--database-url", url]) == 1
            assert words in capsys.readouterr().err
