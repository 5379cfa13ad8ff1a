"""Files of runs: read by their mapping, and everything odd in them told by line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from api.runs.mapping import RunFileError, RunMapping, load_run_mapping
from api.runs.refused import refused_text
from api.runs.rows import RunFile, read_runs
from schemas.resources import RunState

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
HEADER = "Key,Line,State,Product,Begin,End"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def mapping(**changes: Any) -> RunMapping:
    columns = {"run": "Key", "line": "Line", "state": "State", "product": "Product", "start": "Begin", "end": "End"}
    whole = {
        "columns": columns | changes.pop("columns", {}),
        "time": {"formats": ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S.%f", "iso"]},
        "states": {"PROD": "running"},
    }
    return RunMapping.model_validate(whole | changes)


def read(*lines: str, head: str = HEADER, **changes: Any) -> RunFile:
    return read_runs("\n".join([head, *lines, ""]).encode(), mapping(**changes), COPENHAGEN, name="runs.csv")


def refusals(found: RunFile) -> list[tuple[int, str]]:
    return [(refusal.row.line, refusal.reason) for refusal in found.refused]


def spans(found: RunFile) -> list[tuple[int, int | None]]:
    return [(run.span.start, run.span.end) for run in found.found]


class TestExamples:
    """The mappings that are shipped read the files beside them."""

    def example(self, name: str) -> RunFile:
        content = (EXAMPLES / f"{name}.csv").read_bytes()
        return read_runs(content, load_run_mapping(EXAMPLES / f"{name}.yaml"), ZoneInfo("UTC"), name=name)

    def test_an_english_mes(self) -> None:
        content = (EXAMPLES / "runs-mes.csv").read_bytes()
        found = read_runs(content, load_run_mapping(EXAMPLES / "runs-mes.yaml"), COPENHAGEN, name="x")
        assert (found.rows, found.refused, found.left_out) == (6, [], [])
        assert [(r.span.run, r.span.state, r.span.product, r.span.order) for r in found.found] == [
            ("88120", RunState.CHANGEOVER, "bracket", "A-2041"),
            ("88121", RunState.RUNNING, "bracket", "A-2041"),
            ("88122", RunState.DOWN, None, None),
            ("88123", RunState.RUNNING, "bracket", "A-2041"),
            ("88124", RunState.IDLE, None, None),
            ("88125", RunState.RUNNING, "bracket", "A-2042"),
        ]
        assert spans(found)[0] == (ms("2026-03-02T06:00+01:00"), ms("2026-03-02T06:25:30+01:00"))
        assert spans(found)[-1] == (ms("2026-03-03T06:00+01:00"), None)

    def test_a_danish_erp(self) -> None:
        found = self.example("runs-erp")
        assert (found.rows, found.refused) == (5, [])
        assert [(left.row.line, left.reason) for left in found.left_out] == [(8, "state 'RAPPORT' is left out")]
        assert [(r.row.line, r.span.run, r.span.line, r.span.state, r.span.product) for r in found.found] == [
            (4, "10441-010", "press", RunState.CHANGEOVER, "bracket"),
            (5, "10441-020", "press", RunState.RUNNING, "bracket"),
            (6, "10441-021", "press", RunState.DOWN, "bracket"),
            (7, "10442-010", "press", RunState.RUNNING, "bracket"),
        ]
        assert spans(found) == [
            (ms("2026-03-02T06:00+01:00"), ms("2026-03-02T06:30+01:00")),
            (ms("2026-03-02T06:30+01:00"), ms("2026-03-02T13:45+01:00")),
            (ms("2026-03-02T13:45+01:00"), ms("2026-03-02T13:51+01:00")),
            (ms("2026-03-03T06:00+01:00"), ms("2026-03-03T14:00+01:00")),
        ]


class TestClockChanges:
    def test_a_time_that_was_skipped_is_refused(self):
        found = read(
            "r1,press,PROD,bolt,2026-03-29 02:30,2026-03-29 04:00",
            "r2,press,PROD,bolt,2026-03-29 01:00,2026-03-29 02:59",
            "r3,press,PROD,bolt,2026-03-29 01:00,2026-03-29 02:00",
        )
        assert [line for line, _ in refusals(found)] == [2, 3]
        assert "start 2026-03-29 02:30:00 did not exist in Europe/Copenhagen" in refusals(found)[0][1]
        assert "end 2026-03-29 02:59:00 did not exist" in refusals(found)[1][1]
        # An end may lie on the very moment of the change.
        assert spans(found) == [(ms("2026-03-29T01:00+01:00"), ms("2026-03-29T03:00+02:00"))]

    def test_a_time_that_the_clock_showed_twice_is_told_apart_by_the_run_before(self):
        found = read(
            "r1,press,PROD,bolt,2026-10-25 01:30,2026-10-25 02:20",
            "r2,press,PROD,bolt,2026-10-25 02:20,2026-10-25 02:10",
            "r3,press,PROD,bolt,2026-10-25 02:10,2026-10-25 02:50",
            "r4,saw,PROD,bolt,2026-10-25 02:40,2026-10-25 03:00",
        )
        assert spans(found) == [
            (ms("2026-10-25T01:30+02:00"), ms("2026-10-25T02:20+02:00")),
            (ms("2026-10-25T02:20+02:00"), ms("2026-10-25T02:10+01:00")),
            (ms("2026-10-25T02:10+01:00"), ms("2026-10-25T02:50+01:00")),
            (ms("2026-10-25T02:40+02:00"), ms("2026-10-25T03:00+01:00")),
        ]
        assert [run.notes for run in found.found][1] == (
            "start 2026-10-25 02:20:00 stood twice on the clock in Europe/Copenhagen; taken as the first",
            "end 2026-10-25 02:10:00 stood twice on the clock in Europe/Copenhagen; taken as the second",
        )

    def test_whatever_the_order_of_the_rows(self):
        rows = [
            "r1,press,PROD,bolt,2026-10-25 01:30,2026-10-25 02:20",
            "r2,press,PROD,bolt,2026-10-25 02:20,2026-10-25 02:10",
            "r3,press,PROD,bolt,2026-10-25 02:10,2026-10-25 02:50",
        ]
        assert spans(read(*rows)) == spans(read(*reversed(rows)))[::-1]
        # A later run that stands before it says nothing.
        alone = read("r9,press,PROD,bolt,2026-10-25 01:00,2026-11-02 12:00", *rows[:1], rows[2])
        assert spans(alone)[2] == (ms("2026-10-25T02:10+02:00"), ms("2026-10-25T02:50+02:00"))

    def test_offsets_and_durations_leave_no_doubt(self):
        found = read("r1,press,PROD,bolt,2026-10-25T02:30+01:00,2026-10-25T03:00+01:00")
        assert (spans(found)[0][0], found.found[0].notes) == (ms("2026-10-25T02:30+01:00"), ())
        found = read(
            "r1,press,PROD,bolt,2026-10-25 01:00,2.5",
            columns={"end": None, "duration": {"column": "End", "unit": "h"}},
        )
        assert spans(found) == [(ms("2026-10-25T01:00+02:00"), ms("2026-10-25T02:30+01:00"))]

    def test_the_mapping_s_zone_goes_before_the_site_s(self):
        found = read("r1,press,PROD,bolt,2026-01-01 12:00,", time={"formats": ["iso"], "zone": "UTC"})
        assert spans(found) == [(ms("2026-01-01T12:00+00:00"), None)]


class TestRows:
    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("r1,press,BUSY,bolt,2026-03-02 08:00,", "state 'BUSY' has no translation; add it to `states`"),
            ("r1,press,,bolt,2026-03-02 08:00,", "it has no state; give one under `constants`"),
            ("r1,Press 1,PROD,bolt,2026-03-02 08:00,", "line 'Press 1' has no translation and is no key"),
            ("r1,,PROD,bolt,2026-03-02 08:00,", "it names no line"),
            ("r1,press,PROD,4711 A,2026-03-02 08:00,", "product '4711 A' has no translation and is no key; add it to"),
            ("r1,press,PROD,,2026-03-02 08:00,", "run 'r1' is running but names no product"),
            ("r1,press,PROD,bolt,,", "it has no start"),
            ("r1,press,PROD,bolt,2 March,", "start '2 March' is of none of the forms %Y-%m-%d %H:%M, "),
            ("r1,press,PROD,bolt,2026-03-02 08:00,soon", "end 'soon' is of none of the forms"),
            ("r1,press,PROD,bolt,2026-03-02 08:00,2026-03-02 07:59", "run 'r1' ends at or before its start"),
            ("r1,press,PROD,bolt,1999-03-02 08:00,", "start 1999-03-02 08:00:00 lies before 2000"),
            ("r1,press,PROD,bolt,0001-01-01T00:00+14:00,", "lies before 2000 or after 2199"),
            ("r1,press,PROD,bolt,2026-03-02 08:00,9999-12-31 23:59", "lies before 2000 or after 2199"),
            (",press,PROD,bolt,2026-03-02 08:00,", "it has no key of the run"),
            (f"{'r' * 101},press,PROD,bolt,2026-03-02 08:00,", "run: "),
            ("r1,press,PROD,bolt,2026-03-02 08:00,,,more", "it has 8 cells, the header 6; check its quotes"),
        ],
    )
    def test_what_is_refused(self, row, reason):
        found = read(row, "r2,press,idle,,2026-03-02 09:00,")
        assert len(found.found) == 1
        ((line, told),) = refusals(found)
        assert line == 2
        assert reason in told

    def test_rows_that_need_not_be_runs(self):
        found = read(
            "r1,press,PROD,bolt,2026-03-02 08:00,2026-03-02 08:00",
            ",,,,,",
            "",
            "r2,press,idle,,2026-03-02 08:00,",
            "r2,press,idle,,2026-03-02 08:00,",
        )
        assert [(left.row.line, left.reason) for left in found.left_out] == [
            (2, "it ends when it begins"),
            (6, "it repeats line 5"),
        ]
        assert (found.rows, len(found.found), found.refused) == (3, 1, [])

    def test_one_key_with_two_meanings(self):
        found = read("r1,press,idle,,2026-03-02 08:00,", "r1,press,idle,,2026-03-02 09:00,", "r1,saw,idle,,2026-03-02,")
        assert [(run.row.line, run.span.line) for run in found.found] == [(2, "press"), (4, "saw")]
        assert "stands in line 2 already and says otherwise there" in refusals(found)[0][1]

    def test_lines_are_counted_through_cells_of_several(self):
        found = read('r1,press,"PROD\n",bolt,2026-03-02 08:00,', "r2,press,BUSY,,2026-03-02 08:00,")
        assert [run.row.line for run in found.found] == [2]
        assert [line for line, _ in refusals(found)] == [4]

    def test_without_a_key_the_start_makes_one(self):
        found = read("r1,press,idle,,2026-03-02 08:00,", "r2,press,idle,,2026-03-02 08:00:00.5,", columns={"run": None})
        assert [run.span.run for run in found.found] == ["press-20260302T070000Z", "press-20260302T070000.500Z"]

    def test_constants_and_translations(self):
        found = read(
            "r1,WC 1,PROD,0711,2026-03-02 08:00,",
            "r2,-,?,-,2026-03-02 09:00,",
            lines={"WC 1": "saw"},
            products={"0711": "bolt"},
            constants={"line": "press", "product": "nut", "order": "o1"},
            empty=["-"],
            unknown_state="down",
        )
        assert [(r.span.line, r.span.state, r.span.product, r.span.order) for r in found.found] == [
            ("saw", RunState.RUNNING, "bolt", "o1"),
            ("press", RunState.DOWN, "nut", "o1"),
        ]

    @pytest.mark.parametrize(
        ("unit", "text", "length_ms"),
        [
            ("h", "1,25", 4_500_000),
            ("min", "90", 5_400_000),
            ("s", "0,5", 500),
            ("ms", "7", 7),
            ("d", "1", 86_400_000),
            ("clock", "1:30", 5_400_000),
            ("clock", "26:00:05", 93_605_000),
        ],
    )
    def test_durations(self, unit, text, length_ms):
        columns = {"end": None, "duration": {"column": "End", "unit": unit}}
        found = read(f"r1;press;idle;;2026-03-02 08:00;{text}", head=HEADER.replace(",", ";"), decimal=",",
                     delimiter=";", columns=columns)  # fmt: skip
        ((start, end),) = spans(found)
        assert (end or 0) - start == length_ms

    @pytest.mark.parametrize(
        ("unit", "text"), [("h", "-1"), ("h", "1.5"), ("clock", "1:75"), ("d", "99999"), ("h", "x")]
    )
    def test_durations_that_are_none(self, unit, text):
        columns = {"end": None, "duration": {"column": "End", "unit": unit}}
        found = read(f'r1,press,idle,,2026-03-02 08:00,"{text}"', decimal=",", columns=columns)
        assert "duration" in refusals(found)[0][1]


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b"", "has no header in line 1"),
            (
                b"Key;Line\n",
                "lacks the columns Begin, End, Key, Line, Product, State of the mapping; with delimiter ','",
            ),
            (f"{HEADER},Key\n".encode(), "has the column Key more than once"),
            (b"\xff\xfe", "is not text in utf-8"),
            (f'{HEADER}\nr1,"press\n'.encode(), "not a row of a CSV file"),
            (f'{HEADER}\nr1,"pr"ess,\n'.encode(), "runs.csv:2: not a row of a CSV file"),
        ],
    )
    def test_what_can_not_be_read_at_all(self, content, complaint):
        with pytest.raises(RunFileError) as caught:
            read_runs(content, mapping(), COPENHAGEN, name="runs.csv")
        assert complaint in str(caught.value)

    @pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_8"])
    def test_a_byte_order_mark_is_no_part_of_a_name(self, encoding):
        content = f"\ufeff{HEADER}\r\nr1,press,idle,,2026-03-02 08:00,\r\n".encode()
        assert len(read_runs(content, mapping(encoding=encoding), COPENHAGEN, name="x").found) == 1

    def test_refused_rows_can_be_mended_and_read_again(self):
        head = f"report,,\n{HEADER}"
        found = read("r1,press,BUSY,,2026-03-02 08:00", "r2,press,idle,,2026-03-02 09:00,", head=head, header_line=2)
        text = refused_text(found, found.refused, mapping(header_line=2))
        assert text.splitlines() == [
            "report,,",
            f"{HEADER},refused line,refused because",
            "r1,press,BUSY,,2026-03-02 08:00,,3,\"state 'BUSY' has no translation; add it to `states`, or set "
            '`unknown_state`"',
        ]
        mended = text.replace("BUSY,,", "idle,,")
        again = read_runs(mended.encode(), mapping(header_line=2), COPENHAGEN, name="mended.csv")
        assert [run.span.run for run in again.found] == ["r1"]
