"""What an import would do, without doing it: every check of ingest, beside what is stored already. Writes nothing
but a temporary table."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from collector.archived import enter as enter_archive
from collector.archived import look_up_old
from collector.batch import Batch, ReadingRows, assemble
from collector.binary_copy import decode_array, encode_rows
from collector.importing.findings import LISTED, Findings, LeftOut
from collector.importing.messages import FileMessage, Messages
from collector.importing.prepared import Prepared
from collector.meter_index import MeterIndex, load_meter_index
from schemas.quarantine import Reason

_KEPT_PIECES = 64
"""Pieces whose readings are remembered, to find those that the file has twice."""
_WEEK_MS = 7 * 86_400_000
_AT_BITS = 43
"""An instant up to the year 2200 in milliseconds."""
_NEVER = 2**62

_READ_ONLY: LiteralString = "SET TRANSACTION READ ONLY"
_ARCHIVED_TO: LiteralString = "SELECT (extract(epoch FROM archived_to) * 1000)::int8 FROM archive_progress"
_TRIED: LiteralString = """
    CREATE TEMPORARY TABLE IF NOT EXISTS tried (nth int, meter_id int, at timestamptz) ON COMMIT DELETE ROWS
"""
_COPY: LiteralString = "COPY tried (nth, meter_id, at) FROM STDIN (FORMAT binary)"
_HELD: LiteralString = """
    SELECT array_agg(tried.nth), array_agg(reading.value) FROM tried JOIN reading USING (at, meter_id)
    WHERE reading.at >= to_timestamp(%(first)s / 1000.0) AND reading.at <= to_timestamp(%(last)s / 1000.0)
      AND tried.at >= to_timestamp(%(first)s / 1000.0) AND tried.at <= to_timestamp(%(last)s / 1000.0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What would become of the readings. `doubled`: of them, those whose meter and instant the file has before.

    `is_sure`: nothing went so far back in time that doubled readings could have been overlooked.
    """

    new: int
    repeated: int
    quarantined: Counter[str]
    doubled: int
    is_sure: bool
    listed: list[LeftOut]
    findings: Findings


def rehearse(
    connection: psycopg.Connection, prepared: Prepared, *, report: Callable[[int], None] = lambda _: None
) -> Rehearsal:
    """Read the whole file and look up each reading. `report` hears up to which row.

    Raises ImportRefusedError, ArchiveError where old readings can't be looked up, and what the database says.
    """
    converter = prepared.converter()
    index = load_meter_index(connection)
    maker = Messages(prepared.matched.meters, epoch=prepared.new.epoch, sent_at=0)
    trial = _Trial(connection, index, prepared)
    if prepared.matched.meters:
        for seq, piece in enumerate(converter.pieces(), start=1):
            trial.take(maker.of_piece(seq, piece))
            report(converter.findings.rows)
    prepared.check_unchanged()
    return Rehearsal(
        new=trial.new,
        repeated=trial.repeated,
        quarantined=trial.quarantined,
        doubled=trial.doubled,
        is_sure=trial.memory.is_sure,
        listed=trial.listed,
        findings=converter.findings,
    )


class _Trial:
    def __init__(self, connection: psycopg.Connection, index: MeterIndex, prepared: Prepared) -> None:
        self._connection = connection
        self._index = index
        self._tolerance_ms = prepared.wanted.future_tolerance_ms
        meters = prepared.matched.meters
        ids = {index.meters[meter.address][meter.key].id for meter in meters if meter.address in index.meters}
        self._ids = np.array(sorted(ids), dtype=np.int64)
        self.memory = _Memory(meters=len(ids))
        self.new = self.repeated = self.doubled = 0
        self.quarantined: Counter[str] = Counter()
        self.listed: list[LeftOut] = []

    def take(self, messages: list[FileMessage]) -> None:
        now_ms = time.time_ns() // 1_000_000
        batch = assemble(
            [message.message for message in messages],
            self._index,
            now_ms=now_ms,
            future_tolerance_ms=self._tolerance_ms,
        )
        for checked in batch.messages:
            for entry in checked.quarantined:
                self.quarantined[str(entry.reason)] += entry.readings
                self._list(entry.seq or 0, f"{entry.reason}: {entry.detail}", is_row=False)
        if len(batch.rows):
            self._judge(batch, messages)

    def _judge(self, batch: Batch, messages: list[FileMessage]) -> None:
        rows = batch.rows
        held, is_held = self._look_up(rows)
        key = (np.searchsorted(self._ids, rows.meter_id) << _AT_BITS) | rows.at
        seen, is_seen = self.memory.look_up(key)
        order = np.argsort(key, kind="stable")
        begins = np.r_[True, key[order][1:] != key[order][:-1]]
        first = order[begins]
        of_group = np.empty(len(rows), dtype=np.int64)
        of_group[order] = first[np.cumsum(begins) - 1]
        is_first = np.zeros(len(rows), dtype=np.bool_)
        is_first[first] = True
        # What is stored stays; else the file's first one is what the others are compared with.
        there = np.where(is_held, held, np.where(is_seen, seen, rows.value[of_group]))
        is_new = is_first & ~is_held & ~is_seen
        is_conflict = ~is_new & (there != rows.value)
        self.new += int(is_new.sum())
        self.repeated += int((~is_new & ~is_conflict).sum())
        self.doubled += int((~is_first | is_seen).sum())
        if conflicts := int(is_conflict.sum()):
            self.quarantined[Reason.CONFLICT] += conflicts
        for i in np.flatnonzero(is_conflict).tolist():
            message = messages[int(rows.source[i])]
            nth = int(rows.row[i])
            meter = message.message.meters[message.message.meter[nth]]
            if not self._list(int(message.row[nth]), f"{meter}: {rows.value[i]:g} where {there[i]:g} is already"):
                break
        self.memory.keep(key[first], np.where(is_held, held, rows.value)[first])

    def _list(self, row: int, reason: str, *, is_row: bool = True) -> bool:
        """List it while the list is short; False where it is not."""
        if len(self.listed) >= LISTED:
            return False
        self.listed.append(LeftOut(row=row if is_row else 0, reason=reason))
        return True

    def _look_up(self, rows: ReadingRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What is stored for each, in the table and in the archive."""
        self._connection.execute(_TRIED)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(_READ_ONLY)
            enter_archive(cursor)
            (archived_to_ms,) = cursor.execute(_ARCHIVED_TO).fetchone() or (None,)
            value, is_known = np.full(len(rows), np.nan), np.zeros(len(rows), dtype=np.bool_)
            if archived_to_ms is not None:
                found = look_up_old(cursor, rows.meter_id, rows.at, older_than_ms=archived_to_ms)
                if found.problem is not None and found.is_open.any():
                    raise found.problem
                value, is_known = found.value, found.is_known
            nth = np.arange(len(rows))
            with cursor.copy(_COPY) as copy:
                copy.write(encode_rows(("int4", "int4", "timestamptz"), (nth, rows.meter_id, rows.at)))
            # A week at a time, so that few of the table's parts are looked through for each.
            week = rows.at // _WEEK_MS
            for one in np.unique(week).tolist():
                at = rows.at[week == one]
                cursor.execute(_HELD, {"first": int(at.min()), "last": int(at.max())}, binary=True)
                result = cursor.pgresult
                held = [b"" if result is None else result.get_value(0, i) or b"" for i in range(2)]
                places = decode_array("int4", held[0])
                value[places], is_known[places] = decode_array("float8", held[1]), True
        return value, is_known


@dataclass(slots=True, kw_only=True)
class _Memory:
    """The readings of the last pieces, and of those before only from when to when each meter has any."""

    meters: int
    is_sure: bool = True
    _pieces: deque[tuple[NDArray[np.int64], NDArray[np.float64]]] = field(default_factory=deque)
    _first: NDArray[np.int64] = field(init=False)
    _last: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._first = np.full(self.meters, _NEVER, dtype=np.int64)
        self._last = np.full(self.meters, -_NEVER, dtype=np.int64)

    def look_up(self, key: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The value that came first for each, where there was one."""
        value, is_known = np.full(len(key), np.nan), np.zeros(len(key), dtype=np.bool_)
        meter = key >> _AT_BITS
        self.is_sure &= not ((key >= self._first[meter]) & (key <= self._last[meter])).any()
        lowest, highest = key.min(), key.max()
        for keys, values in self._pieces:
            if keys[0] > highest or keys[-1] < lowest:
                continue
            place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            found = (keys[place] == key) & ~is_known
            value[found], is_known[found] = values[place[found]], True
        return value, is_known

    def keep(self, key: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        """Remember these, sorted by key."""
        self._pieces.append((key, value))
        if len(self._pieces) > _KEPT_PIECES:
            old, _ = self._pieces.popleft()
            np.minimum.at(self._first, old >> _AT_BITS, old)
            np.maximum.at(self._last, old >> _AT_BITS, old)
