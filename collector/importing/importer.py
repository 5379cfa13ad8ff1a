"""Imports a file: looks it over, matches its meters with the site's, and writes piece after piece.

Each piece is a message of the file's own epoch in the ledger, and how far it came stands in `file_import`, written in
the transaction that stores the piece: killed at any instant it goes on where it stopped. A thread reads and checks the
next pieces while the database takes these.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import psycopg

from collector.batch import Batch, assemble
from collector.errors import ImportRefusedError
from collector.importing import import_store
from collector.importing.conversion import Converter
from collector.importing.findings import Findings
from collector.importing.import_store import FileImport
from collector.importing.messages import FileMessage, Messages
from collector.importing.prepared import Prepared
from collector.meter_index import MeterIndex, load_meter_index
from collector.store import StaleModelError, Written, add_up, write_batch

_BATCH_READINGS = 100_000
"""Readings of a transaction, about."""
_BATCH_MESSAGES = 100
_NOTHING = Written(stored=0, repeated=0, quarantined=Counter(), redelivered=0, late=0, stored_seq={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to. `was_done`: it was finished before, and nothing was done now. `resumed_at`: the row at
    which it went on. `namesake`: an earlier import of a file of this name with other contents. `now`: what this run
    stored; `record` counts all of them.
    """

    record: FileImport
    was_done: bool
    resumed_at: int
    namesake: FileImport | None
    findings: Findings | None
    now: Written


def import_file(
    connection: psycopg.Connection, prepared: Prepared, *, report: Callable[[int], None] = lambda _: None
) -> Imported:
    """Store what is not stored yet. `report` hears up to which row all is done.

    Raises ImportRefusedError, ImportBusyError, ArchiveError where old readings can't be looked up, and what the
    database says; what is committed by then stays, and the next call goes on from there.
    """
    problems = prepared.problems()
    if problems:
        raise ImportRefusedError("\n".join(f"{prepared.wanted.path}: {problem}" for problem in problems))
    with import_store.turn(connection, prepared.new.epoch):
        namesake = import_store.find_namesake(connection, prepared.new)
        record = import_store.begin_import(connection, prepared.new)
        if record.finished_at is not None:
            return Imported(record=record, was_done=True, resumed_at=0, namesake=namesake, findings=None, now=_NOTHING)
        run = _Run(connection, prepared, record)
        findings = run.write_all(report)
        import_store.finish(connection, record.id, left_out=findings.left_out, blank=findings.blank)
        done = import_store.find_import(connection, prepared.new)
        return Imported(
            record=done or record,
            was_done=False,
            resumed_at=record.rows_done,
            namesake=namesake,
            findings=findings,
            now=run.written,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Messages that are written in one transaction, up to the piece with that number and that row, and their batch."""

    to_piece: int
    to_row: int
    messages: Sequence[FileMessage]
    batch: Batch
    index: MeterIndex


class _Run:
    """One process's part in an import."""

    def __init__(self, connection: psycopg.Connection, prepared: Prepared, record: FileImport) -> None:
        self._connection = connection
        self._prepared = prepared
        self._record = record
        self._index = load_meter_index(connection)
        self.written = _NOTHING

    def write_all(self, report: Callable[[int], None]) -> Findings:
        """Read the whole file, and write what is not written yet. Returns what was found in all of it."""
        converter = self._prepared.converter()
        done, quarantined = self._record.pieces_done, self._record.quarantined
        with closing(_ahead(self._parts(converter))) as parts:
            for part in parts:
                self._prepared.check_unchanged()
                written = self._write(part, from_piece=done)
                done = part.to_piece
                self.written = add_up(self.written, written)
                report(part.to_row)
                if quarantined + self.written.quarantined.total() > self._prepared.wanted.most_quarantined:
                    raise ImportRefusedError(self._too_many())
        self._prepared.check_unchanged()
        return converter.findings

    def _parts(self, converter: Converter) -> Iterator[_Part]:
        """In order. What is done already is read again, as it tells how to go on, and not written."""
        sent_at = int(self._record.started_at.timestamp() * 1000)
        maker = Messages(self._prepared.matched.meters, epoch=self._record.epoch, sent_at=sent_at)
        waiting: list[FileMessage] = []
        seq = 0
        for seq, piece in enumerate(converter.pieces(), start=1):
            if seq <= self._record.pieces_done:
                continue
            waiting += maker.of_piece(seq, piece)
            if len(waiting) >= _BATCH_MESSAGES or sum(len(message.row) for message in waiting) >= _BATCH_READINGS:
                yield self._part(seq, converter.findings.rows, waiting)
                waiting = []
        if waiting:
            yield self._part(seq, converter.findings.rows, waiting)

    def _part(self, to_piece: int, to_row: int, messages: Sequence[FileMessage]) -> _Part:
        index = self._index
        batch = self._assemble(messages, index)
        return _Part(to_piece=to_piece, to_row=to_row, messages=messages, batch=batch, index=index)

    def _assemble(self, messages: Sequence[FileMessage], index: MeterIndex) -> Batch:
        return assemble(
            [message.message for message in messages],
            index,
            now_ms=time.time_ns() // 1_000_000,
            future_tolerance_ms=self._prepared.wanted.future_tolerance_ms,
        )

    def _write(self, part: _Part, *, from_piece: int) -> Written:
        index, batch = part.index, part.batch
        while True:
            try:
                with self._connection.transaction(), self._connection.cursor() as cursor:
                    written = write_batch(self._connection, batch, model_version=index.version, needs_archive=True)
                    import_store.advance(
                        cursor,
                        self._record.id,
                        from_piece=from_piece,
                        to_piece=part.to_piece,
                        rows=part.to_row,
                        written=written,
                    )
            except StaleModelError:
                # The site model moved: look again at what it says now.
                self._index = index = load_meter_index(self._connection)
                batch = self._assemble(part.messages, index)
            else:
                return written

    def _too_many(self) -> str:
        wanted = self._prepared.wanted
        return (
            f"{wanted.path}: more than {wanted.most_quarantined:,} readings went to quarantine; `afkobling quarantine "
            "list` says why. What is stored stays; the same command with a larger --most-quarantined goes on"
        )


def _ahead(parts: Iterator[_Part]) -> Generator[_Part]:
    """Read one ahead of whoever takes them, in a thread."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="import") as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part
