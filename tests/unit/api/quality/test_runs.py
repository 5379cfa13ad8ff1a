"""Runs that overlap, work in no run, and runs that were never ended; and above all what is fine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api.quality.facts import RunFacts, WorkedGap
from api.quality.finding import Finding
from api.quality.findings import find
from api.quality.runs import MOST_COUNTED, MOST_TOLD, uncovered
from schemas.findings import FindingKind
from schemas.resources import RunState
from tests.unit.api.quality.test_findings import DAY, HOUR, MINUTE, NOW, START, site

SECOND = timedelta(seconds=1)
AT = START + DAY


def run(key="r1", start=AT, length=HOUR, line="press", **changes) -> RunFacts:
    until = start + length
    return replace(RunFacts(line=line, run=key, state=RunState.RUNNING, start=start, end=until, until=until), **changes)


def told(*runs, **changes) -> list[Finding]:
    return [finding for finding in find(site(runs=runs, **changes), now=NOW) if finding.line is not None]


def test_one_run_after_the_other_is_fine():
    runs = [run(f"r{i}", AT + i * HOUR) for i in range(5)]
    assert told(*runs, run("r9", AT, 5 * HOUR, line="saw")) == []


@pytest.mark.parametrize(("seconds", "count"), [(0.999, 0), (1, 1), (1800, 1)])
def test_runs_of_one_line_that_overlap_by_a_second_or_more(seconds, count):
    found = told(run("r1"), run("r2", AT + HOUR - seconds * SECOND))
    assert [finding.kind for finding in found] == [FindingKind.RUN_OVERLAP] * count


def test_an_overlap_says_which_and_for_how_many_whole_seconds():
    (finding,) = told(run("r1"), run("r2", AT + 30 * MINUTE - SECOND / 2, state=RunState.DOWN))
    assert (finding.line, finding.start, finding.end) == ("press", AT + 30 * MINUTE - SECOND / 2, AT + HOUR)
    assert "Runs r1 (running) and r2 (down) of line press overlap for 1,800 seconds, from 2026-06-01 14:29" in (
        finding.seen
    )
    assert finding.why
    assert finding.todo


def test_a_run_within_another_and_one_behind_both():
    found = told(run("day", length=8 * HOUR), run("short", AT + HOUR, MINUTE), run("late", AT + 7 * HOUR, 2 * HOUR))
    assert [(f.start, f.end) for f in found] == [
        (AT + HOUR, AT + HOUR + MINUTE),
        (AT + 7 * HOUR, AT + 8 * HOUR),
    ]


def test_an_overlap_outside_of_the_period_is_not_told():
    assert told(run("r1", START - 3 * HOUR, 4 * HOUR), run("r2", START - 2 * HOUR, HOUR)) == []


def test_very_many_overlaps_are_one_finding():
    runs = [run(f"r{i:04}", AT + i * MINUTE, 2 * MINUTE) for i in range(MOST_TOLD + 2)]
    (finding,) = told(*runs)
    assert (finding.count, finding.start, finding.end) == (MOST_TOLD + 1, AT + MINUTE, AT + (MOST_TOLD + 2) * MINUTE)
    assert "the first are r0000 and r0001" in finding.seen
    (finding,) = told(*[run(f"r{i}") for i in range(1500)])
    assert finding.count == MOST_COUNTED
    assert f"{MOST_COUNTED} or more pairs" in finding.seen


@pytest.mark.parametrize(
    ("state", "days", "count"),
    [
        (RunState.RUNNING, 7.01, 1),
        (RunState.CHANGEOVER, 7.01, 1),
        (RunState.RUNNING, 7, 0),
        (RunState.IDLE, 20, 0),
        (RunState.DOWN, 20, 0),
    ],
)
def test_a_run_in_which_a_line_works_for_longer_than_a_week_without_an_end(state, days, count):
    found = told(run("r1", NOW - days * DAY, days * DAY, end=None, state=state))
    assert [(f.kind, f.end) for f in found] == [(FindingKind.RUN_OPEN_LONG, None)] * count
    assert told(run("r1", NOW - days * DAY, days * DAY, state=state)) == []


def test_an_open_run_ends_where_another_one_begins():
    assert told(run("r1", AT, HOUR, end=None), run("r2", AT + HOUR)) == []
    (finding,) = told(run("r1", AT, 8 * DAY, end=None), run("r2", AT + 8 * DAY))
    assert (finding.kind, finding.end) == (FindingKind.RUN_OPEN_LONG, AT + 8 * DAY)
    assert "counts for 8 days" in finding.seen


def gap(quarters=2, start=AT, **changes) -> WorkedGap:
    end = start + 15 * MINUTE * quarters
    return replace(WorkedGap(line="press", start=start, end=end, quarters=quarters, is_made=True), **changes)


def test_work_in_no_run():
    assert told(worked_gaps=[gap(1)]) == []
    (finding,) = told(worked_gaps=[gap(2)])
    assert (finding.kind, finding.line, finding.start, finding.end) == (
        FindingKind.RUN_MISSING,
        "press",
        AT,
        AT + 30 * MINUTE,
    )
    assert finding.seen.startswith("Line press made something in 2 quarters of an hour that no run covers, from ")
    (finding,) = told(worked_gaps=[gap(3, is_made=False)])
    assert "took clearly more than when it is idle in 3 quarters" in finding.seen


def test_work_in_very_many_gaps_is_one_finding():
    gaps = [gap(2, AT + i * HOUR) for i in range(MOST_TOLD + 1)]
    (finding,) = told(worked_gaps=gaps)
    assert (finding.count, finding.start, finding.end) == (MOST_TOLD + 1, AT, gaps[-1].end)
    assert len(told(worked_gaps=gaps[1:])) == MOST_TOLD


def test_stretches_without_a_run_hold_whole_quarters_only():
    day = datetime(2026, 3, 2, tzinfo=UTC)
    end = day + 6 * HOUR

    def free(*runs) -> list[tuple[float, float]]:
        return [((a - day) / MINUTE, (b - day) / MINUTE) for a, b in uncovered(list(runs), day, end)]

    assert free() == [(0, 360)]
    assert free(run(start=day - HOUR, length=10 * HOUR)) == []
    assert free(run(start=day + HOUR, length=HOUR)) == [(0, 60), (120, 360)]
    # Cut by a minute on both sides; a single quarter is too little to be told.
    assert free(run(start=day + 59 * MINUTE, length=62 * MINUTE)) == [(0, 45), (135, 360)]
    assert free(run(start=day + 20 * MINUTE, length=5 * HOUR)) == [(330, 360)]
    assert free(run(start=day, length=3 * HOUR), run(start=day + HOUR, length=MINUTE)) == [(180, 360)]
