"""Readings that stand in the archive: read beside those of the table, and looked up before one is stored again.

Both belong into the transaction that reads or writes the table: it holds the archive's gate until its end.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from schemas.archive_reader import ArchivedFile, ArchiveReader, Columns, match
from schemas.archive_store import ArchiveError
from schemas.archive_tables import FILES, GATE, GATE_KEY, SITES, TRY_GATE

Ints = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the archive holds for each reading that was looked up: `value` where `is_known`.

    Of those in `is_open` nobody can say, as a file can't be read: `problem` says why.
    """

    value: NDArray[np.float64]
    is_known: NDArray[np.bool_]
    is_open: NDArray[np.bool_]
    problem: ArchiveError | None


def enter(cursor: psycopg.Cursor[Any]) -> None:
    """Until the transaction ends no reading moves between table and archive. Comes before the roll-up's gate."""
    cursor.execute(GATE, GATE_KEY)


def try_enter(cursor: psycopg.Cursor[Any]) -> bool:
    """The same where it can be had at once: for whoever is waited for by somebody who holds the gate."""
    return cursor.execute(TRY_GATE, GATE_KEY).fetchone() == (True,)


def read_archived(cursor: psycopg.Cursor[Any], from_ms: int, to_ms: int, meter_ids: Ints | None) -> list[Columns]:
    """Archived readings with from_ms ≤ at < to_ms, of all meters or of some, behind the gate. Raises ArchiveError."""
    from_us, to_us = from_ms * 1000, min(to_ms, 2**52) * 1000
    reader, files = find_files(cursor, from_us, to_us, meter_ids)
    if reader is None:
        return []
    return [part for file in files for part in reader.read(file, from_us=from_us, to_us=to_us, meter_ids=meter_ids)]


@lru_cache(maxsize=4)
def reader_of(url: str) -> ArchiveReader:
    """The one reader of an archive in this process. Raises ArchiveAddressError for an address that is none."""
    return ArchiveReader(url, clock=time.monotonic, lock=threading.Lock())


def find_files(
    cursor: psycopg.Cursor[Any], from_us: int, to_us: int, meter_ids: Ints | None
) -> tuple[ArchiveReader | None, list[ArchivedFile]]:
    """The files that may hold some of it, the oldest first, and who reads them; None where there are none."""
    meters = None if meter_ids is None else np.unique(meter_ids).tolist()
    rows = cursor.execute(FILES, {"from_us": from_us, "to_us": to_us, "meters": meters}).fetchall()
    files = [
        ArchivedFile(
            site_id=site_id,
            path=path,
            readings=readings,
            first_us=first_us,
            last_us=last_us,
            footer_sha256=bytes(footer),
        )
        for _, site_id, path, readings, first_us, last_us, footer in rows
    ]
    return (reader_of(rows[0][0]), files) if files else (None, [])


def look_up_old(cursor: psycopg.Cursor[Any], meter_id: Ints, at_ms: Ints, *, older_than_ms: int) -> Found:
    """What the archive holds for each meter and instant; nothing newer than `older_than_ms` is looked for."""
    old = np.flatnonzero(at_ms < older_than_ms)
    found = look_up(cursor, meter_id[old], at_ms[old]) if len(old) else None
    value = np.full(len(at_ms), np.nan)
    is_known, is_open = np.zeros(len(at_ms), np.bool_), np.zeros(len(at_ms), np.bool_)
    if found is None:
        return Found(value=value, is_known=is_known, is_open=is_open, problem=None)
    value[old], is_known[old], is_open[old] = found.value, found.is_known, found.is_open
    return Found(value=value, is_known=is_known, is_open=is_open, problem=found.problem)


def look_up(cursor: psycopg.Cursor[Any], meter_id: Ints, at_ms: Ints) -> Found:
    """What the archive holds for each of these readings, one at least, in one pass over each file.

    Behind the gate. What can't be read is told, not raised.
    """
    count = len(meter_id)
    value = np.full(count, np.nan)
    is_known, is_open = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    problem: ArchiveError | None = None
    at = at_ms * 1000
    try:
        reader, files = find_files(cursor, int(at.min()), int(at.max()) + 1, meter_id)
    except ArchiveError as error:
        return Found(value=value, is_known=is_known, is_open=~is_open, problem=error)
    if reader is None:
        return Found(value=value, is_known=is_known, is_open=is_open, problem=None)
    site = _sites(cursor, meter_id)
    for file in files:
        rows = np.flatnonzero((at >= file.first_us) & (at <= file.last_us) & (site == file.site_id) & ~is_known)
        if not len(rows):
            continue
        begin, end = int(at[rows].min()), int(at[rows].max()) + 1
        # By meter, as the file is: each of its row groups concerns a stretch of them.
        rows = rows[np.argsort(meter_id[rows], kind="stable")]
        meters = meter_id[rows]
        try:
            for part in reader.parts(file, from_us=begin, to_us=end, meter_ids=np.unique(meters)):
                near = rows[slice(*np.searchsorted(meters, [part.meter_id[0], part.meter_id[-1] + 1]))]
                mine, theirs = match(part, meter_id[near], at[near])
                value[near[mine]] = part.value[theirs]
                is_known[near[mine]] = True
        except ArchiveError as error:
            problem = error
            is_open[rows] = True
    return Found(value=value, is_known=is_known, is_open=is_open & ~is_known, problem=problem)


def _sites(cursor: psycopg.Cursor[Any], meter_id: Ints) -> Ints:
    """Each reading's site, so that a file that can't be read holds up nobody else's."""
    meters, nth = np.unique(meter_id, return_inverse=True)
    of_meter = dict(cursor.execute(SITES, {"meters": meters.tolist()}).fetchall())
    return np.array([of_meter.get(meter, -1) for meter in meters.tolist()], dtype=np.int64)[nth]
