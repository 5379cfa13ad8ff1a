"""Any well-formed file of runs: taking it twice is taking it once, and no row is lost on the way."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from api.runs.changes import Change, KnownRun, RunKey, Site, Speaker, judge
from api.runs.mapping import RunMapping
from api.runs.rows import RunFile, read_runs
from schemas.wire import RunSpan

HEADER = ["key", "line", "state", "product", "begin", "end"]
NOW = datetime(2027, 1, 1, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Copenhagen")
SITE = Site(lines={"press", "saw"}, products={"bolt", "nut"}, zone=ZONE)
YEAR_M = 366 * 24 * 60
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12
).map(str.strip).filter(bool)  # fmt: skip


@st.composite
def rows(draw: st.DrawFn) -> list[list[str]]:
    """Rows as an MES writes them: mostly good, local times of all of 2026 with both changes of the clock."""

    def time(minute: int) -> str:
        return f"{datetime(2026, 1, 1) + timedelta(minutes=minute):%d-%m-%Y %H:%M}"  # noqa: DTZ001 - as on the wall

    row = st.builds(
        lambda key, line, state, product, begin, length: [
            key,
            line,
            state,
            product,
            time(begin),
            "" if length is None else time(begin + length),
        ],
        st.one_of(st.sampled_from(["r1", "r2"]), WORDS),
        st.sampled_from(["press", "saw", "P 1", "lathe"]),
        st.sampled_from(["running", "idle", "STOP", "?", ""]),
        st.sampled_from(["bolt", "nut", "4711", "", "screw"]),
        # Often within the days of the clock's changes.
        st.one_of(st.integers(0, YEAR_M), st.integers(427_400, 427_600), st.integers(125_300, 125_400)),
        st.one_of(st.none(), st.integers(-60, 600)),
    )
    return draw(st.lists(row, max_size=12))


@st.composite
def mappings(draw: st.DrawFn) -> RunMapping:
    return RunMapping.model_validate(
        {
            "delimiter": draw(st.sampled_from([",", ";", "\t"])),
            "encoding": draw(st.sampled_from(["utf-8", "utf-16"])),
            "time": {"formats": ["%d-%m-%Y %H:%M"]},
            "columns": {
                "run": draw(st.sampled_from(["key", ["line", "key"], None])),
                "line": "line",
                "state": "state",
                "product": "product",
                "start": "begin",
                "end": "end",
            },
            "lines": {"P 1": "press"},
            "products": {"4711": "bolt"},
            "states": {"STOP": "down"},
            "unknown_state": draw(st.sampled_from(["refuse", "leave_out", "idle"])),
        }
    )


def write(table: list[list[str]], mapping: RunMapping) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=mapping.delimiter).writerows([HEADER, *table])
    return text.getvalue().encode(mapping.encoding)


def take(read: RunFile, known: dict[RunKey, KnownRun], *, is_person: bool) -> list[Change | None]:
    """What becomes of each run; what goes in stands in `known` afterwards, as the store would have it."""
    speaker = Speaker(is_person=is_person)
    judged = judge([found.span for found in read.found], known, SITE, speaker, now=NOW)
    for run in judged:
        assert (run.change is None) != (run.refused is None)
        if run.change in {Change.NEW, Change.CORRECTED}:
            author = "Anna" if is_person else None
            known[run.span.line, run.span.run] = KnownRun(span=run.span, said_at=NOW, author=author, reason=author)
    return [run.change for run in judged]


@given(rows(), mappings(), st.booleans())
def test_taking_a_file_twice_changes_nothing(table: list[list[str]], mapping: RunMapping, is_person: bool) -> None:
    content = write(table, mapping)
    known: dict[RunKey, KnownRun] = {}
    first = take(read_runs(content, mapping, ZONE, name="x"), known, is_person=is_person)
    assert set(first) <= {Change.NEW, None}
    before = dict(known)
    again = take(read_runs(content, mapping, ZONE, name="x"), known, is_person=False)
    assert set(again) <= {Change.UNCHANGED, None}
    assert [change is None for change in again] == [change is None for change in first]
    assert known == before


@given(rows(), mappings())
def test_every_row_is_a_run_or_is_told_why_not(table: list[list[str]], mapping: RunMapping) -> None:
    read = read_runs(write(table, mapping), mapping, ZONE, name="x")
    lines = [item.row.line for told in (read.found, read.refused, read.left_out) for item in told]
    assert sorted(lines) == list(range(2, len(table) + 2))
    assert all(refusal.reason for refusal in [*read.refused, *read.left_out])
    keys = [(found.span.line, found.span.run) for found in read.found]
    assert len(set(keys)) == len(keys)
    for found in read.found:
        assert found.span.end is None or found.span.end > found.span.start


@given(rows(), mappings())
def test_a_person_s_word_stands_against_a_file(table: list[list[str]], mapping: RunMapping) -> None:
    read = read_runs(write(table, mapping), mapping, ZONE, name="x")
    known: dict[RunKey, KnownRun] = {}
    for i, found in enumerate(read.found):
        span = None if i % 2 else RunSpan.model_construct(**{**dict(found.span), "start": found.span.start - 1})
        key = (found.span.line, found.span.run)
        known[key] = KnownRun(span=span, said_at=NOW, author="Anna", reason="she was there")
    assert take(read, dict(known), is_person=False) == [None] * len(read.found)
    judged = judge([f.span for f in read.found], known, SITE, Speaker(is_person=True), now=NOW)
    # What no word can make good: a line or product that is not there, and a run that lies ahead.
    hopeless = ("there is no", "it lies ahead")
    assert all(run.change is Change.CORRECTED for run in judged if not (run.refused or "").startswith(hopeless))
