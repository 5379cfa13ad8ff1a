"""Runs from a file of an ERP or an MES: what becomes of each of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from api.database import Connection
from api.exact_json import Answer, Instant
from api.runs import history
from api.runs.answers import site_of_runs, to_write
from api.runs.changes import Change, Judged, KnownRun, RunKey, Site, Speaker, differences, judge
from api.runs.rows import Refusal, RunFile
from api.said import Said, from_unix_ms
from api.site_store import SiteRow
from schemas.resources import RunState
from schemas.wire import RunSpan


class RowNote(Answer):
    """What there is to say about a row; `row` is the line of the file in which it begins."""

    row: int
    note: str


class ImportedRun(Answer):
    """A run as it was read, and what becomes of it."""

    row: int
    change: Change
    line: str
    run: str
    state: RunState
    product: str | None
    order: str | None
    start: Annotated[Instant | None, Field(alias="from")]
    end: Annotated[Instant | None, Field(alias="to")]


class RunImport(Answer):
    """What became of a file's rows, or in a dry run what would. `notes` tells what was odd, and what was corrected."""

    dry_run: bool
    rows: int
    new: int
    corrected: int
    unchanged: int
    left_out: list[RowNote]
    refused: list[RowNote]
    notes: list[RowNote]
    runs: list[ImportedRun]


async def import_runs(
    connection: Connection, site: SiteRow, read: RunFile, *, said: Said | None = None, dry_run: bool = False
) -> tuple[RunImport, list[Refusal]]:
    """Put the good rows' runs in, together, unless it is a dry run. The refused rows come back as they stand."""
    spans = [found.span for found in read.found]
    async with connection.transaction():
        known = await history.known_runs(connection, site, spans)
        place = await site_of_runs(connection, site)
        judged = judge(spans, known, place, Speaker(is_person=said is not None), now=datetime.now(UTC))
        if not dry_run:
            await history.save(connection, site, to_write(judged), said=said, said_at=None)
    refused = sorted([*read.refused, *_refusals(read, judged)], key=lambda refusal: refusal.row.line)
    return _answer(read, judged, refused, known, place, dry_run=dry_run), refused


def _refusals(read: RunFile, judged: Sequence[Judged]) -> list[Refusal]:
    return [
        Refusal(row=found.row, reason=run.refused)
        for found, run in zip(read.found, judged, strict=True)
        if run.refused is not None
    ]


def _answer(
    read: RunFile,
    judged: Sequence[Judged],
    refused: Sequence[Refusal],
    known: Mapping[RunKey, KnownRun],
    site: Site,
    *,
    dry_run: bool,
) -> RunImport:
    taken = [(found, run, run.change) for found, run in zip(read.found, judged, strict=True) if run.change is not None]
    notes = []
    for found, run, change in taken:
        notes += [RowNote(row=found.row.line, note=note) for note in found.notes]
        if change is Change.CORRECTED:
            told = _correction(run, known[run.span.line, run.span.run], site)
            notes.append(RowNote(row=found.row.line, note=told))
    changes = [change for _, _, change in taken]
    return RunImport(
        dry_run=dry_run,
        rows=read.rows,
        new=changes.count(Change.NEW),
        corrected=changes.count(Change.CORRECTED),
        unchanged=changes.count(Change.UNCHANGED),
        left_out=_notes(read.left_out),
        refused=_notes(refused),
        notes=notes,
        runs=[_imported(found.row.line, run.span, change) for found, run, change in taken],
    )


def _correction(run: Judged, known: KnownRun, site: Site) -> str:
    name = f"run {run.span.run} of line {run.span.line}"
    who = f", which {known.author} said" if known.author else ""
    if run.was is None:
        return f"{name} is there again; it had been removed{f' by {known.author}' if known.author else ''}"
    return f"{name} is corrected: {differences(run.span, run.was, site.zone)}{who}"


def _notes(refusals: Sequence[Refusal]) -> list[RowNote]:
    return [RowNote(row=refusal.row.line, note=refusal.reason) for refusal in refusals]


def _imported(row: int, span: RunSpan, change: Change) -> ImportedRun:
    return ImportedRun(
        row=row,
        change=change,
        line=span.line,
        run=span.run,
        state=span.state,
        product=span.product,
        order=span.order,
        start=from_unix_ms(span.start),
        end=None if span.end is None else from_unix_ms(span.end),
    )
