"""Raw readings that are archived, beside those of the table.

Within `beside` none of them moves between the two. What a query needs of the archive is fetched first, no more than it
can tell of; `over` then lets the statement see it as if it stood in the table. Files are read in a thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from api.database import Connection, fetch_all
from schemas.archive_reader import NOTHING, ArchivedFile, ArchiveReader, Columns, join, match
from schemas.archive_tables import FILES, GATE, GATE_KEY

# The statement's own `reading` is both; within the brackets it is the table.
_BOTH: LiteralString = """
WITH reading AS NOT MATERIALIZED (
    SELECT meter_id, at, value, quality FROM reading
    UNION ALL
    SELECT meter_id, timestamptz 'epoch' + at_us * interval '1 microsecond', value, quality
    FROM unnest(%(archived_meter)s::int4[], %(archived_at)s::int8[], %(archived_value)s::float8[],
                %(archived_quality)s::int2[]) AS a (meter_id, at_us, value, quality)
)"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_LOOK_US = 3_600_000_000
Span = tuple[int, datetime, datetime]
"""A meter, and from when to when, the end not included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The files that may hold some of what is asked for, the oldest first."""

    reader: ArchiveReader
    files: Sequence[ArchivedFile]


@dataclass(frozen=True, slots=True)
class _Page:
    from_us: int
    to_us: int
    after: tuple[int, int] | None
    limit: int | None
    is_last: bool


class Archive:
    """What is archived, as long as `beside` lasts. Each raises ArchiveError where that can't be read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def page(
        self,
        meters: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        after: tuple[datetime, int] | None = None,
        limit: int | None = None,
        is_last: bool = False,
    ) -> Columns:
        """Readings in [start, end) by instant and meter: the first `limit` (or last) that come after a key, or all."""
        key = None if after is None else (unix_us(after[0]), after[1])
        first = start if after is None else max(start, after[0])
        return await self._read(
            meters,
            first,
            end,
            lambda found: _page(found, meters, _Page(unix_us(first), unix_us(end), key, limit, is_last)),
        )

    async def firsts(self, spans: Sequence[Span]) -> Columns:
        """The first reading of each span."""
        return await self._ends(spans, is_last=False)

    async def lasts(self, spans: Sequence[Span]) -> Columns:
        """The last reading of each span."""
        return await self._ends(spans, is_last=True)

    async def at(self, instants: Sequence[tuple[int, datetime]]) -> Columns:
        """The readings of these meters at these instants."""
        meters = np.array([meter for meter, _ in instants], dtype=np.int64)
        at = np.array([unix_us(instant) for _, instant in instants], dtype=np.int64)
        if not len(at):
            return NOTHING
        start, end = (min(when for _, when in instants), max(when for _, when in instants) + _MICROSECOND)
        return await self._read([*{*meters.tolist()}], start, end, lambda found: _at(found, meters, at))

    async def _ends(self, spans: Sequence[Span], *, is_last: bool) -> Columns:
        wanted: dict[tuple[datetime, datetime], list[int]] = {}
        for meter, start, end in spans:
            wanted.setdefault((start, end), []).append(meter)
        if not wanted:
            return NOTHING

        def look(found: _Files) -> Columns:
            return join(
                [
                    _end_rows(found, meters, (unix_us(start), unix_us(end)), is_last=is_last)
                    for (start, end), meters in wanted.items()
                ]
            )

        start, end = min(start for start, _ in wanted), max(end for _, end in wanted)
        return await self._read([*{meter for meter, _, _ in spans}], start, end, look)

    async def _read(
        self, meters: Sequence[int], start: datetime, end: datetime, look: Callable[[_Files], Columns]
    ) -> Columns:
        if end <= start or not meters:
            return NOTHING
        values = {"meters": list(meters), "from_us": unix_us(start), "to_us": unix_us(end)}
        rows = await fetch_all(self._connection, FILES, values)
        if not rows:
            return NOTHING
        files = [ArchivedFile(**{name: row[name] for name in ArchivedFile.__slots__}) for row in rows]
        return await asyncio.to_thread(look, _Files(reader=reader_of(rows[0]["url"]), files=files))


@asynccontextmanager
async def beside(connection: Connection) -> AsyncIterator[Archive]:
    """A transaction in which no reading moves between table and archive."""
    async with connection.transaction():
        await connection.execute(GATE, GATE_KEY)
        yield Archive(connection)


def over(
    statement: LiteralString, values: Mapping[str, Any], archived: Columns
) -> tuple[LiteralString, dict[str, Any]]:
    """The statement and its values, of which each `FROM reading` sees these archived readings too."""
    if not len(archived):
        return statement, dict(values)
    stripped = statement.lstrip()
    joined = _BOTH + ", " + stripped.removeprefix("WITH ") if stripped.startswith("WITH ") else _BOTH + stripped
    return joined, {
        **values,
        "archived_meter": archived.meter_id.tolist(),
        "archived_at": archived.at.tolist(),
        "archived_value": archived.value.tolist(),
        "archived_quality": archived.quality.tolist(),
    }


@lru_cache(maxsize=4)
def reader_of(url: str) -> ArchiveReader:
    """The one reader of an archive in this process. Raises ArchiveAddressError for an address that is none."""
    return ArchiveReader(url, clock=time.monotonic, lock=threading.Lock())


def unix_us(instant: datetime) -> int:
    """Unix microseconds."""
    return (instant - _EPOCH) // _MICROSECOND


def instant_of(at_us: int) -> datetime:
    """The instant of Unix microseconds."""
    return _EPOCH + int(at_us) * _MICROSECOND


def _page(found: _Files, meters: Sequence[int], page: _Page) -> Columns:
    """Looks near where the page begins, and further only where that does not fill it."""
    if page.limit is None:
        return _rows(found, meters, page)
    first = max(page.from_us, min(file.first_us for file in found.files))
    last = min(page.to_us, max(file.last_us for file in found.files) + 1)
    look = _FIRST_LOOK_US
    while True:
        begin, end = (max(first, last - look), last) if page.is_last else (first, min(first + look, last))
        kept = _rows(found, meters, replace(page, from_us=begin, to_us=end))
        if len(kept) >= page.limit or look >= last - first:
            return kept
        look *= 16


def _rows(found: _Files, meters: Sequence[int], page: _Page) -> Columns:
    """What lies beyond the last row that is wanted is not looked at."""
    kept, begin, end = NOTHING, page.from_us, page.to_us
    wanted = np.array(sorted(meters))
    for file in sorted(found.files, key=lambda file: -file.last_us) if page.is_last else found.files:
        for part in found.reader.read(file, from_us=begin, to_us=end, meter_ids=wanted):
            if page.after is not None:
                part = part.select((part.at > page.after[0]) | (part.meter_id > page.after[1]))  # noqa: PLW2901
            kept = _nearest(join([kept, part]), page)
        if page.limit is not None and len(kept) >= page.limit:
            begin, end = (int(kept.at[0]), end) if page.is_last else (begin, int(kept.at[-1]) + 1)
    return kept


def _nearest(rows: Columns, page: _Page) -> Columns:
    """The wanted end of these, by instant and meter."""
    limit = page.limit
    if limit is not None and len(rows) > limit:
        edge = np.partition(rows.at, -limit if page.is_last else limit - 1)[-limit if page.is_last else limit - 1]
        rows = rows.select(rows.at >= edge if page.is_last else rows.at <= edge)
    order = np.lexsort((rows.meter_id, rows.at))
    return rows.select(order[-limit:] if limit is not None and page.is_last else order[:limit])


def _end_rows(found: _Files, meters: Sequence[int], span: tuple[int, int], *, is_last: bool) -> Columns:
    """Of each meter the last reading of the span, or the first, as far as it has any."""
    names = np.array(sorted(set(meters)))
    best = np.full(len(names), span[0] - 1 if is_last else span[1])
    kept: dict[int, Columns] = {}
    files = sorted(found.files, key=lambda file: -file.last_us if is_last else file.first_us)
    for file in files:
        # A file that ends before what is found already has nothing to add.
        open_ = names[best < file.last_us] if is_last else names[best > file.first_us]
        if not len(open_):
            continue
        for part in found.reader.read(file, from_us=span[0], to_us=span[1], meter_ids=open_):
            is_other = part.meter_id[1:] != part.meter_id[:-1]
            ends = np.flatnonzero(np.r_[is_other, True] if is_last else np.r_[True, is_other])
            nth = np.searchsorted(names, part.meter_id[ends])
            is_better = part.at[ends] > best[nth] if is_last else part.at[ends] < best[nth]
            best[nth[is_better]] = part.at[ends[is_better]]
            kept |= {
                int(number): part.select(np.array([row]))
                for number, row in zip(nth[is_better].tolist(), ends[is_better].tolist(), strict=True)
            }
    return join([NOTHING, *kept.values()])


def _at(found: _Files, meters: NDArray[Any], at: NDArray[np.int64]) -> Columns:
    parts = [NOTHING]
    for file in found.files:
        rows = np.flatnonzero((at >= file.first_us) & (at <= file.last_us))
        if not len(rows):
            continue
        begin, end = int(at[rows].min()), int(at[rows].max()) + 1
        near = found.reader.parts(file, from_us=begin, to_us=end, meter_ids=np.unique(meters[rows]))
        parts += [part.select(np.unique(match(part, meters[rows], at[rows])[1])) for part in near]
    return join(parts)
