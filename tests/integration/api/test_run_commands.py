"""The command runs, as a planner types it, and files of an ERP or an MES."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.cli import main

pytestmark = pytest.mark.stack

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
ANNA = ["--author", "Anna", "--reason", "the shift book says so"]
PUT = ["runs", "put", "line-1", "r1", "--state", "running", "--product", "bolt", "--from", "2026-03-02T08:00:00+01:00"]
MAPPING = """
columns: {run: Key, line: Line, state: State, product: Product, start: Begin, end: End}
time: {formats: ["%Y-%m-%d %H:%M"]}
"""
HEADER = "Key,Line,State,Product,Begin,End"
GOOD = "r1,line-1,running,bolt,2026-03-02 08:00,2026-03-02 12:00"


@pytest.fixture
def run(database_url, site, capsys):
    """Run a command; its exit status, what it printed and what it complained of."""

    def command(*words) -> tuple[int, str, str]:
        status = main([*map(str, words), "--database-url", database_url])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


@pytest.fixture
def files(tmp_path):
    """A folder with a mapping and a file of these rows; the words that import it."""

    def write(*rows, mapping=MAPPING, header=HEADER) -> list[str]:
        (tmp_path / "mapping.yaml").write_text(mapping)
        (tmp_path / "runs.csv").write_text("\n".join([header, *rows, ""]))
        return ["runs", "import", str(tmp_path / "runs.csv"), "--mapping", str(tmp_path / "mapping.yaml")]

    return write


def stored(connection) -> list[tuple[object, ...]]:
    rows = connection.execute(
        "SELECT line.key, run.key, state, product.key, author, said_at FROM run JOIN line ON line.id = line_id"
        " LEFT JOIN product ON product.id = product_id ORDER BY 1, 2"
    ).fetchall()
    return [tuple(row) for row in rows]


class TestByHand:
    def test_put_show_correct_remove(self, run):
        status, out, _ = run(*PUT, *ANNA)
        assert (status, out.splitlines()[0]) == (0, "line-1  r1  2026-03-02T07:00:00Z goes on  running  bolt")
        assert run(*PUT, "--to", "2026-03-02T12:00:00+01:00", "--order", "A7", *ANNA)[0] == 0
        assert run("runs", "list", "--from", "2026-03-02", "--to", "2026-03-03")[1] == (
            "line-1  r1  2026-03-02T07:00:00Z to 2026-03-02T11:00:00Z  running  bolt  order A7\n"
        )
        status, out, _ = run("runs", "remove", "line-1", "r1", *ANNA)
        assert (status, out.splitlines()[0]) == (0, "line-1  r1  removed")
        shown = json.loads(run("runs", "show", "line-1", "r1", "--json")[1])
        assert [(v["state"], v["to"], v["author"]) for v in shown["versions"]] == [
            ("running", None, "Anna"),
            ("running", "2026-03-02T11:00:00Z", "Anna"),
            (None, None, "Anna"),
        ]
        assert run("runs", "list", "--from", "2026-03-02", "--to", "2026-03-03")[1] == "no such runs\n"

    def test_lists(self, run):
        for key, start in (("r1", "2026-03-02"), ("r2", "2026-03-03")):
            words = ["runs", "put", "line-1", key, "--state", "idle", "--from", start, *ANNA]
            assert run(*words)[0] == 0
        page = json.loads(run("runs", "list", "--json", "--from", "2026-03-01", "--limit", "1")[1])
        assert ([item["run"] for item in page["items"]], page["next"] is None) == (["r1"], False)
        assert "there are more" in run("runs", "list", "--from", "2026-03-01", "--limit", "1")[1]
        assert run("runs", "list", "--line", "line-2")[1] == "no such runs\n"
        # The one that goes on touches the last week.
        assert run("runs", "list")[1].startswith("line-1  r2  ")

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            ([*PUT, "--to", "2026-03-01", *ANNA], "items.0: run 'r1' ends at or before its start"),
            ([*PUT, "--order", "", *ANNA], "order: "),
            ([*PUT, "--author", "Anna", "--reason", "?"], "reason: "),
            (["runs", "put", "saw", *PUT[3:], *ANNA], "there is no line 'saw'"),
            (["runs", "show", "line-1", "r9"], "there is no such run"),
            (["runs", "remove", "line-1", "r9", *ANNA], "there is no such run"),
            (["runs", "list", "--from", "noon"], "from: write a date"),
            (["runs", "list", "--from", "2026-03-03", "--to", "2026-03-02"], "must be after"),
        ],
    )
    def test_what_is_refused(self, run, connection, words, complaint):
        status, out, err = run(*words)
        assert (status, out, complaint in err) == (1, "", True)
        assert stored(connection) == []


class TestImport:
    def test_good_rows_go_in_and_refused_ones_are_told(self, run, connection, files, tmp_path):
        bad = [
            "r2,line-9,idle,,2026-03-02 08:00,",
            "r3,line-1,BUSY,,2026-03-02 08:00,",
            "r4,line-1,idle,,2199-01-01 08:00,",
        ]
        words = files(GOOD, *bad)
        status, out, _ = run(*words)
        name = tmp_path / "runs.csv"
        assert (status, out.splitlines()) == (
            1,
            [
                f"{name}:3: refused: there is no line 'line-9' at this site; add it to the site model",
                f"{name}:4: refused: state 'BUSY' has no translation; add it to `states`, or set `unknown_state`",
                f"{name}:5: refused: it lies ahead: say a run when it has begun, and its end when it has ended",
                "4 rows: 1 new, 0 corrected, 0 unchanged, 0 left out, 3 refused",
                f"the refused rows stand in {tmp_path / 'runs.refused.csv'}; mend them there, and import that file",
            ],
        )
        assert [row[:5] for row in stored(connection)] == [("line-1", "r1", "running", "bolt", None)]
        refused = (tmp_path / "runs.refused.csv").read_text()
        assert refused.splitlines()[0] == f"{HEADER},refused line,refused because"
        assert refused.splitlines()[1].startswith(f"{bad[0]},3,there is no line")
        mended = tmp_path / "mended.csv"
        mended.write_text(refused.replace("line-9", "line-2").replace("BUSY", "down").replace("2199", "2026"))
        status, out, _ = run("runs", "import", mended, *words[3:])
        assert (status, out) == (0, "3 rows: 3 new, 0 corrected, 0 unchanged, 0 left out, 0 refused\n")

    def test_the_same_file_again_changes_nothing(self, run, connection, files):
        words = files(GOOD, "r2,line-1,idle,,2026-03-02 12:00,")
        assert run(*words)[0] == 0
        connection.execute("DELETE FROM attribution_due")
        before = stored(connection)
        assert run(*words) == (0, "2 rows: 0 new, 0 corrected, 2 unchanged, 0 left out, 0 refused\n", "")
        assert stored(connection) == before
        for table in ("run_version", "attribution_due"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)

    def test_a_dry_run_tells_and_does_nothing(self, run, connection, files, tmp_path):
        words = files(GOOD, "r2,line-1,BUSY,,2026-03-02 12:00,")
        status, out, _ = run(*words, "--dry-run")
        assert status == 1
        assert (
            f"{tmp_path / 'runs.csv'}:2: new: line-1  r1  2026-03-02T07:00:00Z to 2026-03-02T11:00:00Z  running" in out
        )
        assert out.endswith("1 refused; nothing was done (dry run)\n")
        assert stored(connection) == []
        assert not (tmp_path / "runs.refused.csv").exists()

    def test_corrections_are_told_and_kept(self, run, connection, files, tmp_path):
        run(*files(GOOD))
        status, out, _ = run(*files(GOOD.replace("bolt", "nut")))
        assert (status, out.splitlines()[0]) == (
            0,
            f"{tmp_path / 'runs.csv'}:2: note: run r1 of line line-1 is corrected: product nut instead of bolt",
        )
        assert connection.execute("SELECT count(*) FROM run_version").fetchone() == (1,)

    def test_a_file_does_not_overrule_a_person_unless_a_person_says_so(self, run, connection, files):
        run(*PUT, *ANNA)
        run("runs", "put", "line-2", "r2", "--state", "idle", "--from", "2026-03-02", *ANNA)
        run("runs", "remove", "line-2", "r2", *ANNA)
        words = files(GOOD.replace("bolt", "nut"), "r2,line-2,idle,,2026-03-02 08:00,")
        status, out, _ = run(*words)
        assert (status, "2 refused" in out) == (1, True)
        assert "Anna said otherwise (product nut instead of bolt; end 2026-03-02 12:00:00 instead of none)" in out
        assert "Anna removed this run, because: the shift book says so" in out
        status, out, _ = run(*words, "--author", "Bo", "--reason", "the ERP is right")
        assert (status, "2 corrected" in out) == (0, True)
        assert "run r2 of line line-2 is there again; it had been removed by Anna" in out
        assert [row[4] for row in stored(connection)] == ["Bo", "Bo"]

    def test_json(self, run, files, tmp_path):
        status, out, err = run(*files(GOOD, "r2,line-1,BUSY,,2026-03-02 12:00,"), "--json")
        told = json.loads(out)
        assert (status, err, told["rows"], told["new"], told["refused"][0]["row"]) == (1, "", 2, 1, 3)
        assert told["runs"] == [
            {
                "row": 2,
                "change": "new",
                "line": "line-1",
                "run": "r1",
                "state": "running",
                "product": "bolt",
                "order": None,
                "from": "2026-03-02T07:00:00Z",
                "to": "2026-03-02T11:00:00Z",
            }
        ]
        assert (tmp_path / "runs.refused.csv").exists()

    def test_refused_rows_go_where_they_are_wanted(self, run, files, tmp_path):
        words = files("r2,line-1,BUSY,,2026-03-02 12:00,")
        _, out, _ = run(*words, "--refused", "-")
        assert f"{HEADER},refused line,refused because\nr2,line-1,BUSY,,2026-03-02 12:00,,2,\"state 'BUSY'" in out
        run(*words, "--refused", tmp_path / "elsewhere.csv")
        assert (tmp_path / "elsewhere.csv").exists()
        status, _, err = run(*words, "--refused", tmp_path / "no" / "where.csv")
        assert (status, "Import the file again with --refused and another place" in err) == (1, True)

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["--author", "Anna"], "add --reason"),
            (["--json", "--refused", "-"], "--json tells the refused rows itself"),
            (["--mapping", "/nowhere.yaml"], "the mapping /nowhere.yaml can't be read"),
        ],
    )
    def test_wishes_that_do_not_fit(self, run, connection, files, words, complaint):
        status, out, err = run(*files(GOOD), *words)
        assert (status, out, complaint in err) == (1, "", True)
        assert stored(connection) == []

    def test_files_that_can_not_be_read(self, run, connection, files):
        assert "mapping.yaml:1: columns: this is missing" in run(*files(GOOD, mapping="decimal: ','"))[2]
        words = files(GOOD, header="Key;Line")
        assert "lacks the columns Begin" in run(*words)[2]
        assert "can't be read" in run(*words[:2], "/nowhere.csv", *words[3:])[2]
        assert stored(connection) == []

    @pytest.mark.parametrize(("name", "runs"), [("runs-mes", 6), ("runs-erp", 4)])
    def test_the_examples(self, run, connection, database_url, tmp_path, name, runs):
        assert main(["site", "apply", str(EXAMPLES / "site.yaml"), "--database-url", database_url]) == 0
        for kind in ("csv", "yaml"):
            shutil.copy(EXAMPLES / f"{name}.{kind}", tmp_path)
        words = ["runs", "import", tmp_path / f"{name}.csv", "--mapping", tmp_path / f"{name}.yaml", "--site", "hall"]
        status, out, err = run(*words)
        assert (status, f"{runs} new" in out, err) == (0, True, "")
        assert f"{runs} unchanged" in run(*words)[1]
        assert len(stored(connection)) == runs

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.builds(
                lambda key, line, state, hour, length: (
                    f"{key},{line},{state},nut,2025-10-26 {hour:02}:30,2025-10-27 {length:02}:15"
                ),
                st.text("ab/ ;é'", min_size=1, max_size=3),
                st.sampled_from(["line-1", "line-2", "saw"]),
                st.sampled_from(["running", "changeover", "down", "?"]),
                st.integers(0, 23),
                st.integers(0, 23),
            ),
            max_size=8,
        )
    )
    def test_any_file_twice_is_once(self, run, connection, files, rows):
        connection.execute("DELETE FROM run")
        words = files(*rows)
        first = json.loads(run(*words, "--json")[1])
        before = stored(connection)
        again = json.loads(run(*words, "--json")[1])
        assert (again["new"], again["corrected"], again["unchanged"]) == (0, 0, first["new"] + first["corrected"])
        assert again["refused"] == first["refused"]
        assert stored(connection) == before
        assert all(isinstance(row[5], datetime) for row in before)
