"""What stands out about runs: those that overlap, work in no run, and runs that were never ended.

Pairs and gaps are told one by one, and where a line has very many, as one finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import TypeVar

from api.quality.facts import RunFacts, SiteFacts, WorkedGap
from api.quality.finding import Finding
from api.quality.words import duration, plural, span
from schemas.findings import FindingKind
from schemas.resources import RunState

LONGEST_OPEN = timedelta(days=7)
"""How long a run without an end may go on in which a line works [O]."""
LEAST_OVERLAP = timedelta(seconds=1)
"""Two runs that claim less than this of the same time come from clocks, not from mistakes [O]."""
FEWEST_QUARTERS = 2
"""Quarters of an hour with work and without a run that are told; one is a run that was told a little late [O]."""
MOST_TOLD = 20
"""Of one kind and line; more than that are told as one."""
MOST_COUNTED = 1000
T = TypeVar("T")
_QUARTER = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORKING = frozenset({RunState.RUNNING, RunState.CHANGEOVER})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overlap:
    one: RunFacts
    other: RunFacts
    start: datetime
    end: datetime


def find_of_runs(facts: SiteFacts, *, now: datetime) -> list[Finding]:
    """Findings about runs."""
    found = [_open(run, facts, now) for run in facts.runs if _is_open_long(run)]
    runs = sorted(facts.runs, key=lambda run: (run.line, run.start, run.run))
    for _, of_line in groupby(runs, lambda run: run.line):
        pairs = list(islice(_overlaps(list(of_line), facts), MOST_COUNTED))
        found += _told(pairs, lambda pair: _overlap(pair, facts), lambda pairs: _many(pairs, facts))
    gaps = sorted(facts.worked_gaps, key=lambda gap: (gap.line, gap.start))
    for _, gaps_of_line in groupby((gap for gap in gaps if gap.quarters >= FEWEST_QUARTERS), lambda gap: gap.line):
        found += _told(list(gaps_of_line), lambda gap: _missing([gap], facts), lambda gaps: _missing(gaps, facts))
    return found


def uncovered(runs: Sequence[RunFacts], start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The stretches of whole quarters in [start, end) that none of these runs of one line touches.

    Those too short to be told are left out.
    """
    found = []
    free_from = start
    for first, until in [*sorted((run.start, run.until) for run in runs), (end, end)]:
        begin, stop = _at_quarter(free_from, up=True), _at_quarter(min(first, end), up=False)
        if stop - begin >= FEWEST_QUARTERS * _QUARTER:
            found.append((begin, stop))
        free_from = max(free_from, until)
    return found


def _told(items: Sequence[T], one: Callable[[T], Finding], many: Callable[[Sequence[T]], Finding]) -> list[Finding]:
    return [many(items)] if len(items) > MOST_TOLD else [one(item) for item in items]


def _overlaps(runs: Sequence[RunFacts], facts: SiteFacts) -> Iterator[_Overlap]:
    """Each pair of runs of one line, in order of start, that claims the same time in the period."""
    going: list[RunFacts] = []
    for run in runs:
        going = [before for before in going if before.until > run.start]
        for before in going:
            end = min(before.until, run.until)
            if end - run.start >= LEAST_OVERLAP and facts.touches(run.start, end):
                yield _Overlap(one=before, other=run, start=run.start, end=end)
        going.append(run)


def _overlap(pair: _Overlap, facts: SiteFacts) -> Finding:
    one, other, line = pair.one, pair.other, pair.one.line
    seconds = (pair.end - pair.start) // timedelta(seconds=1)
    return Finding(
        kind=FindingKind.RUN_OVERLAP,
        line=line,
        start=pair.start,
        end=pair.end,
        seen=f"Runs {one.run} ({one.state}) and {other.run} ({other.state}) of line {line} overlap for "
        f"{plural(seconds, 'second')}, {span(pair.start, pair.end, facts.zone)}.",
        todo="Correct the one that is wrong: `afkobling runs put`, or `runs remove` for one that never was.",
    )


def _many(pairs: Sequence[_Overlap], facts: SiteFacts) -> Finding:
    line = pairs[0].one.line
    start, end = pairs[0].start, max(pair.end for pair in pairs)
    count = f"{len(pairs)} or more" if len(pairs) == MOST_COUNTED else f"{len(pairs)}"
    return Finding(
        kind=FindingKind.RUN_OVERLAP,
        line=line,
        start=start,
        end=end,
        seen=f"{count} pairs of runs of line {line} overlap, {span(start, end, facts.zone)}; the first are "
        f"{pairs[0].one.run} and {pairs[0].other.run}.",
        todo="So many point to a cause: two sources that tell the same runs, or a mapping that reads times wrongly. "
        "`afkobling runs list` shows them.",
        count=len(pairs),
    )


def _missing(gaps: Sequence[WorkedGap], facts: SiteFacts) -> Finding:
    line, start, end = gaps[0].line, gaps[0].start, gaps[-1].end
    quarters = sum(gap.quarters for gap in gaps)
    did = "made something" if gaps[0].is_made else "took clearly more than when it is idle"
    often = f" in {len(gaps)} stretches" if len(gaps) > 1 else ""
    return Finding(
        kind=FindingKind.RUN_MISSING,
        line=line,
        start=start,
        end=end,
        seen=f"Line {line} {did} in {plural(quarters, 'quarter')} of an hour{often} that no run covers, "
        f"{span(start, end, facts.zone)}.",
        todo="Say what it made: `afkobling runs put`, or `runs import` for a file; and see that the source of its runs "
        "tells all of them.",
        count=len(gaps),
    )


def _is_open_long(run: RunFacts) -> bool:
    return run.end is None and run.state in _WORKING and run.until - run.start > LONGEST_OPEN


def _open(run: RunFacts, facts: SiteFacts, now: datetime) -> Finding:
    goes_on = run.until >= now
    length = duration(run.until - run.start)
    return Finding(
        kind=FindingKind.RUN_OPEN_LONG,
        line=run.line,
        start=run.start,
        end=None if goes_on else run.until,
        seen=f"Run {run.run} ({run.state}) of line {run.line} has no end and "
        f"{'has gone on' if goes_on else 'counts'} for {length}, {span(run.start, run.until, facts.zone)}.",
        todo="Say when it ended, with `afkobling runs put`, and see that the source of its runs tells ends.",
    )


def _at_quarter(at: datetime, *, up: bool) -> datetime:
    over = (at - _EPOCH) % _QUARTER
    return at - over + _QUARTER if up and over else at - over
