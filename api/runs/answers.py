"""Runs that are said, corrected and removed, and how they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from api import site_store
from api.database import Connection
from api.exact_json import Answer, Instant
from api.problems import ProblemError, bad_value, not_found
from api.runs import history
from api.runs.changes import Change, Judged, RunKey, Site, Speaker, judge
from api.said import CLOCKS_DIFFER, InstantText, Said, Words, all_or_none, instant_of, unix_ms
from api.site_store import SiteRow
from schemas.configuration import problems_in
from schemas.resources import RunState
from schemas.topics import Key
from schemas.wire import Name, RunSpan

_UNTIL = "five minutes from now; say a run when it has begun, and its end when it has ended"


class RunItem(BaseModel):
    """A span in which a line was in one state; `product` is what it made, or what a changeover leads to.

    Without a `to` it goes on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    line: Key
    run: Name
    state: RunState
    product: Key | None = None
    order: Name | None = None
    start: Annotated[InstantText, Field(alias="from")]
    end: Annotated[InstantText | None, Field(alias="to")] = None


class RunItems(BaseModel):
    """Runs to put in, all or none; one that is known already is corrected.

    With `author` and `reason` it is a person's word, else a program's. `said_at` (default: now) is when it was said:
    what was said of a run later than that stays as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[list[RunItem], Field(min_length=1, max_length=10_000)]
    said_at: InstantText | None = None
    author: Words | None = None
    reason: Words | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.author is None) != (self.reason is None):
            raise ValueError("a person gives both `author` and `reason`, a program neither")
        return self

    @property
    def said(self) -> Said | None:
        """Who says it, and why; None where a program does."""
        if self.author is None or self.reason is None:
            return None
        return Said(author=self.author, reason=self.reason)


class SavedRuns(Answer):
    """What became of the runs. `superseded`: something was said of them later than `said_at`, and stays."""

    new: int
    corrected: int
    unchanged: int
    superseded: int


class RunVersion(Answer):
    """What was said once; where a person did, `author` and `reason` say who and why.

    Without a state the run was removed: it never was.
    """

    state: RunState | None
    product: str | None
    order: str | None
    start: Annotated[Instant | None, Field(alias="from")]
    end: Annotated[Instant | None, Field(alias="to")]
    said_at: Instant
    author: str | None
    reason: str | None
    replaced_at: Annotated[Instant | None, Field(description="when something else was said; null for what stands")]


class RunDetail(RunVersion):
    """What stands of a run, and all that was ever said of it, oldest first."""

    line: str
    run: str
    is_removed: bool
    versions: list[RunVersion]


async def site_of_runs(connection: Connection, site: SiteRow) -> Site:
    """What runs of the site may name."""
    return Site(
        lines={line["id"] for line in await site_store.lines(connection, site)},
        products={product["id"] for product in await site_store.products(connection, site)},
        zone=site.zone,
    )


async def put_runs(connection: Connection, site: SiteRow, runs: RunItems) -> SavedRuns:
    """Put runs in, all or none. Raises a 422 problem that lists everything that is wrong with them."""
    now = datetime.now(UTC)
    said_at = None
    if runs.said_at is not None:
        latest = now + CLOCKS_DIFFER
        said_at = instant_of("said_at", runs.said_at, site.zone, latest=latest, until="five minutes from now")
    places, spans = _spans(runs.items, site, now)
    speaker = Speaker(is_person=runs.said is not None, said_at=said_at)
    async with connection.transaction():
        known = await history.known_runs(connection, site, spans)
        judged = judge(spans, known, await site_of_runs(connection, site), speaker, now=now)
        all_or_none(
            [
                bad_value(place, run.refused)
                for place, run in zip(places, judged, strict=True)
                if run.refused is not None
            ]
        )
        await history.save(connection, site, to_write(judged), said=runs.said, said_at=said_at)
    count = Counter(run.change for run in judged)
    return SavedRuns(
        new=count[Change.NEW],
        corrected=count[Change.CORRECTED],
        unchanged=count[Change.UNCHANGED] + len(runs.items) - len(judged),
        superseded=count[Change.SUPERSEDED],
    )


async def remove_run(connection: Connection, site: SiteRow, key: RunKey, said: Said) -> RunDetail:
    """Remove a run that never was; what was said of it stays in its versions. Raises a 404 or 409 problem."""
    found = await find_run(connection, site, key)
    if found.is_removed:
        if (found.author, found.reason) != (said.author, said.reason):
            who = found.author or "a program"
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "removed-already",
                f"run {found.run} of line {found.line} was removed by {who} already",
            )
        return found
    await history.remove(connection, site, key, said)
    return await find_run(connection, site, key)


async def find_run(connection: Connection, site: SiteRow, key: RunKey) -> RunDetail:
    """A run with all its versions, also one that was removed. Raises a 404 problem."""
    line, run = key
    # The database could not even be asked for a NUL.
    rows = [] if "\0" in line + run else await history.versions(connection, site, key)
    if not rows:
        raise not_found("there is no such run of that line at this site; the list of runs shows those that there are")
    versions = [RunVersion(**row) for row in rows]
    return RunDetail(**rows[-1], line=line, run=run, is_removed=versions[-1].state is None, versions=versions)


def to_write(judged: Sequence[Judged]) -> list[RunSpan]:
    """Those that change something."""
    return [run.span for run in judged if run.change in {Change.NEW, Change.CORRECTED}]


def _spans(items: Sequence[RunItem], site: SiteRow, now: datetime) -> tuple[list[str], list[RunSpan]]:
    """Each run that is told once, and where it stands first. Raises a 422 problem."""
    spans: dict[RunKey, tuple[str, RunSpan]] = {}
    problems = []
    for i, item in enumerate(items):
        place = f"items.{i}"
        try:
            span = _span(place, item, site, now)
            if spans.setdefault((span.line, span.run), (place, span))[1] != span:
                raise bad_value(place, f"run {span.run} of line {span.line} stands twice; keep one of them")
        except ProblemError as problem:
            problems.append(problem)
    all_or_none(problems)
    return [place for place, _ in spans.values()], [span for _, span in spans.values()]


def _span(place: str, item: RunItem, site: SiteRow, now: datetime) -> RunSpan:
    latest = now + CLOCKS_DIFFER
    start = instant_of(f"{place}.from", item.start, site.zone, latest=latest, until=_UNTIL)
    end = None
    if item.end is not None:
        end = unix_ms(instant_of(f"{place}.to", item.end, site.zone, latest=latest, until=_UNTIL))
    told = item.model_dump(include={"line", "run", "state", "product", "order"})
    try:
        return RunSpan(**told, start=unix_ms(start), end=end)
    except ValidationError as error:
        raise bad_value(place, "; ".join(problem.message for problem in problems_in(error))) from error
