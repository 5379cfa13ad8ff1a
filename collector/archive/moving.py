"""One chunk's readings, from the table into files: frozen, copied, read back, dropped (docs/adr/0009)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, TypeVar

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import errors

from collector.archive.chunks import Chunk
from collector.archive.contents import Contents, Span, count_contents, read_pages
from collector.archive.errors import ArchiveBusyError, ArchiveStoppedError, NotVerifiedError
from collector.archive.files import add_files, waits
from collector.archive.late import forget_notes, has_notes, read_notes
from collector.archive.parquet import read_rows_of
from collector.archive.progress import announce, enter_alone, freeze, keep_files
from collector.archive.rows import Ints, Rows, join
from collector.archive.site_files import ArchivedFile, write_site_files
from collector.archive.spool import by_site
from collector.archive.store import ArchiveStore

_Item = TypeVar("_Item")

_MOST_LATE = 2_000_000
_ROUNDS = 20

_DROP: LiteralString = "SELECT drop_chunks('reading', older_than => %s, newer_than => %s)"
_SITES: LiteralString = "SELECT id, site_id FROM meter WHERE id = ANY(%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What moving came to: bytes of the files with their manifests, and readings that came while they were written."""

    readings: int
    files: int
    bytes: int
    late: int


def move_chunk(
    connection: psycopg.Connection,
    store: ArchiveStore,
    chunk: Chunk,
    *,
    spool: Path | None = None,
    stopping: threading.Event | None = None,
) -> Moved:
    """Archive the readings of a chunk and drop it; whoever calls has the turn.

    Raises NotVerifiedError where what was read back differs, ArchiveBusyError where readers or writers did not let go,
    and what store and database raise. Then all is as before, but for files that don't count.
    """
    stopping = stopping or threading.Event()
    freeze(connection, chunk.span.end)
    expected = count_contents(connection, chunk.span)
    files = list(
        write_site_files(
            connection,
            store,
            _until(stopping, by_site(_until(stopping, read_pages(connection, chunk.span)), expected, folder=spool)),
            span=chunk.span,
            sites=expected.site_id,
        )
    )
    late = 0
    for _ in range(_ROUNDS):
        expected, added = _add_late(connection, store, chunk.span, expected, files)
        late += sum(file.readings for file in added)
        files += added
        differing = differing_meters(expected, files)
        if len(differing):
            if read_notes(connection, chunk.span)[0]:
                continue
            raise NotVerifiedError(_told(connection, chunk, expected, files, int(differing[0])))
        announce(connection, chunk.span.end)
        if _drop(connection, chunk, files, stopping):
            return Moved(
                readings=sum(file.readings for file in files),
                files=len(files),
                bytes=sum(file.held.size + file.manifest_bytes for file in files),
                late=late,
            )
    raise ArchiveBusyError(f"{chunk.span}: late readings keep arriving there; it is archived once that is over")


def _until(stopping: threading.Event, items: Iterable[_Item]) -> Iterator[_Item]:
    """The items, until somebody says stop: whatever was done so far does not count."""
    for item in items:
        if stopping.is_set():
            raise ArchiveStoppedError("stopped while readings were copied; they stay where they are")
        yield item


def _add_late(
    connection: psycopg.Connection, store: ArchiveStore, span: Span, expected: Contents, files: list[ArchivedFile]
) -> tuple[Contents, list[ArchivedFile]]:
    """Write what came meanwhile into further files. Returns what the span holds now, and these files."""
    notes, meters = read_notes(connection, span)
    if not notes:
        return expected, []
    site_of: dict[int, int] = dict(connection.execute(_SITES, [meters.tolist()]).fetchall())
    mine = [file for file in files if file.site_id in site_of.values()]
    held: dict[int, list[Ints]] = {}
    for file in mine:
        rows = read_rows_of(store, file.path, meters)
        for meter in np.unique(rows.meter_id).tolist():
            held.setdefault(meter, []).append(rows.at_us[rows.meter_id == meter])
    new: list[Rows] = []
    for page in read_pages(connection, span, meters):
        new.append(page.select(_is_new(page, held)))
        if sum(len(part) for part in new) > _MOST_LATE:
            raise ArchiveBusyError(
                f"more than {_MOST_LATE:,} late readings came into the span from {span.start:%Y-%m-%d %H:%M} UTC while "
                "it was archived; it is archived once that is over"
            )
    again = count_contents(connection, span, meters)
    added: list[ArchivedFile] = []
    if sum(len(part) for part in new):
        rows = join(new).by_meter()
        site = np.array([site_of[meter] for meter in rows.meter_id.tolist()])
        pieces = [(int(number), rows.select(site == number)) for number in np.unique(site)]
        added = list(write_site_files(connection, store, pieces, span=span, sites=np.unique(site)))
    forget_notes(connection, notes)
    return _replace(expected, again, meters), added


def _is_new(page: Rows, held: dict[int, list[Ints]]) -> NDArray[np.bool_]:
    is_new = np.ones(len(page), dtype=np.bool_)
    for meter in np.unique(page.meter_id).tolist():
        own = page.meter_id == meter
        for instants in held.get(meter, ()):
            is_new[own] &= ~np.isin(page.at_us[own], instants)
    return is_new


def _replace(expected: Contents, again: Contents, meters: Ints) -> Contents:
    """Newer counts in place of older ones."""
    kept = expected.select(~np.isin(expected.meter_id, meters))
    return Contents(
        site_id=np.r_[kept.site_id, again.site_id],
        meter_id=np.r_[kept.meter_id, again.meter_id],
        readings=np.r_[kept.readings, again.readings],
        checksum=np.r_[kept.checksum, again.checksum],
    )


def differing_meters(expected: Contents, files: list[ArchivedFile]) -> Ints:
    """Meters of which the files do not hold just what the database counted."""
    columns = [
        np.concatenate([getattr(file.held, name) for file in files] or [np.empty(0, np.int64)])
        for name in ("meter_id", "readings", "checksum")
    ]
    meter_id = np.r_[expected.meter_id, columns[0]].astype(np.int64)
    # What the database says, less what the files hold: nothing is left where they agree.
    readings = np.r_[expected.readings, -columns[1]]
    checksum = np.r_[expected.checksum, columns[2].astype(np.uint64)]
    order = np.argsort(meter_id, kind="stable")
    begins = np.flatnonzero(np.r_[True, np.diff(meter_id[order]) != 0][: len(order)])
    if len(begins) == 0:
        return begins
    left = (np.add.reduceat(readings[order], begins) != 0) | (np.bitwise_xor.reduceat(checksum[order], begins) != 0)
    differing: Ints = meter_id[order][begins[left]]
    return differing


def _drop(connection: psycopg.Connection, chunk: Chunk, files: list[ArchivedFile], stopping: threading.Event) -> bool:
    """Let the files count and drop the chunk, in one transaction; False where something came in meanwhile."""
    for _ in waits(stopping, f"{chunk.span} are dropped"):
        try:
            with connection.transaction(), connection.cursor() as cursor:
                enter_alone(cursor)
                if has_notes(cursor, chunk.span):
                    return False
                add_files(cursor, files)
                keep_files(cursor, [file.path for file in files])
                dropped = [row[0] for row in cursor.execute(_DROP, [chunk.span.end, chunk.span.start]).fetchall()]
                if dropped != [chunk.name]:
                    raise NotVerifiedError(f"{chunk.span}: {dropped} would have been dropped with them; nothing was")
                return True
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            continue
    return False


def _told(
    connection: psycopg.Connection, chunk: Chunk, expected: Contents, files: list[ArchivedFile], meter: int
) -> str:
    row = connection.execute("SELECT key FROM meter WHERE id = %s", [meter]).fetchone()
    counted = int(expected.readings[expected.meter_id == meter].sum())
    found = sum(int(file.held.readings[file.held.meter_id == meter].sum()) for file in files)
    difference = f"{counted} readings there, {found} here" if counted != found else "other readings there than here"
    return (
        f"{chunk.span}: database and files differ for meter {row[0] if row else meter} ({difference}); "
        "nothing was dropped, and the files don't count"
    )
