"""All that is due, once or for ever: chunk after chunk into the archive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import pyarrow as pa
import structlog

from collector.archive.chunks import Chunk, enable_columnstore, list_chunks, set_chunk_interval
from collector.archive.contents import require_known_hash
from collector.archive.errors import ArchiveBusyError, ArchiveRefusedError, ArchiveStoppedError, NotVerifiedError
from collector.archive.merging import find_groups, merge_group
from collector.archive.metrics import ArchiveMetrics
from collector.archive.moving import move_chunk
from collector.archive.progress import archive_turn, claim_store, has_files, read_progress, remove_leftovers
from collector.archive.settings import ArchiveSettings
from collector.archive.store import ArchiveStore, stored_url
from collector.chunk_index import index_closed_chunks
from collector.connection import connect
from schemas.archive_store import ArchiveAwayError, ArchiveError

_LOG = structlog.get_logger(__name__)
_RETRY_SECONDS = 10.0
_KEEPS_A_CHUNK = (NotVerifiedError, ArchiveBusyError, ArchiveRefusedError, ArchiveError, pa.ArrowInvalid)


@dataclass(slots=True, kw_only=True)
class Pass:
    """What one pass came to. `problems`: what stays where it is, and why."""

    chunks: int = 0
    readings: int = 0
    files: int = 0
    bytes: int = 0
    late: int = 0
    merged: int = 0
    removed: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def archive_url(connection: psycopg.Connection, wanted: str | None, default: str | None = None) -> str:
    """Where this database's archive is: as kept, as wanted, or the default.

    Raises ArchiveRefusedError where it is nowhere, or elsewhere than wanted: its files would not be found.
    """
    kept = read_progress(connection).url
    asked = stored_url(wanted) if wanted else None
    if kept and asked and kept != asked:
        raise ArchiveRefusedError(
            f"this database's archive is at {kept}, not at {asked}. To move it: copy all its files there, then "
            f"`afkobling archive move {asked}`; else leave AFKOBLING_ARCHIVE_URL out"
        )
    found = kept or asked or (stored_url(default) if default else None)
    if found is None:
        raise ArchiveRefusedError(
            "nobody said where the archive is to be: set AFKOBLING_ARCHIVE_URL to a folder, or to s3://bucket/prefix"
        )
    return found


def open_archive(connection: psycopg.Connection, wanted: str | None) -> ArchiveStore | None:
    """The archive that this database has, to read; None where nothing is archived.

    Raises as `archive_url` does, ArchiveAwayError where it is not there.
    """
    progress = read_progress(connection)
    if progress.id is None or not has_files(connection):
        return None
    store = ArchiveStore(archive_url(connection, wanted))
    store.claim(progress.id, is_new=False)
    return store


class Archiver:
    """Archives what is due; where several run, one works at a time."""

    def __init__(
        self,
        settings: ArchiveSettings,
        *,
        default_url: str | None = None,
        metrics: ArchiveMetrics | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        stopping: threading.Event | None = None,
    ) -> None:
        self._settings = settings
        self._default_url = default_url
        self.metrics = metrics or ArchiveMetrics()
        self._clock = clock
        self._stopping = stopping or threading.Event()

    def once(self, connection: psycopg.Connection, *, report: Callable[[Chunk, int], None] | None = None) -> Pass:
        """Do all that is due now. A chunk that can't be archived stays, is told of, and holds up no other.

        `report` is told of each chunk that is done, and how many are still due. Raises ArchiveBusyError where another
        archiver works, ArchiveError, ArchiveRefusedError or OSError where the archive can't be written.
        """
        started = time.monotonic()
        total = Pass()
        self._settle(connection)
        with archive_turn(connection):
            store = self._claim(connection)
            total.removed = remove_leftovers(connection, store)
            due = [chunk for chunk in self._chunks(connection) if chunk.is_due]
            self.metrics.due.set(len(due))
            for nth, chunk in enumerate(due, start=1):
                if self._stopping.is_set():
                    break
                self._move(connection, store, chunk, total)
                self.metrics.due.set(len(due) - nth)
                if report is not None:
                    report(chunk, len(due) - nth)
            self._merge(connection, store, total)
            if self._settings.meter_index:
                index_closed_chunks(connection, now=self._clock(), stopping=self._stopping)
            archived_to = read_progress(connection).archived_to
            if archived_to is not None:
                self.metrics.archived_to.set(archived_to.timestamp())
        total.seconds = time.monotonic() - started
        return total

    def _claim(self, connection: psycopg.Connection) -> ArchiveStore:
        with connection.transaction(), connection.cursor() as cursor:
            require_known_hash(cursor)
        url = archive_url(connection, self._settings.archive_url, self._default_url)
        try:
            return claim_store(connection, url)
        except OSError as error:
            raise ArchiveAwayError(f"the archive at {url} can't be used: {error}; nothing was moved") from error

    def _settle(self, connection: psycopg.Connection) -> None:
        settings = self._settings
        if settings.chunk_span is not None:
            set_chunk_interval(connection, settings.chunk_span)
        # Late readings of a day or so are written into chunks that are not compressed yet.
        if settings.columnstore and not enable_columnstore(connection, after=settings.retention / 4):
            _LOG.info(
                "this server has TimescaleDB's Apache edition, which has no columnstore; all works without it",
                action="archive.columnstore",
            )

    def _chunks(self, connection: psycopg.Connection) -> list[Chunk]:
        return list_chunks(connection, now=self._clock(), retention=self._settings.retention)

    def _move(self, connection: psycopg.Connection, store: ArchiveStore, chunk: Chunk, total: Pass) -> None:
        try:
            moved = move_chunk(connection, store, chunk, spool=self._settings.archive_spool, stopping=self._stopping)
        except ArchiveStoppedError:
            return
        except _KEEPS_A_CHUNK as error:
            self.metrics.failures.inc()
            total.problems.append(str(error))
            _LOG.warning("readings stay in the table", action="archive.kept", error=str(error))
            total.removed += remove_leftovers(connection, store)
            return
        except OSError as error:
            # A full disk: what was begun makes room for others again.
            self.metrics.failures.inc()
            remove_leftovers(connection, store)
            raise ArchiveAwayError(
                f"the archive at {store.url} can't be written: {error}; nothing was dropped that is not archived"
            ) from error
        total.chunks += 1
        total.readings += moved.readings
        total.files += moved.files
        total.bytes += moved.bytes
        total.late += moved.late
        self.metrics.chunks.inc()
        self.metrics.readings.inc(moved.readings)
        self.metrics.bytes.inc(moved.bytes)
        self.metrics.late.inc(moved.late)

    def _merge(self, connection: psycopg.Connection, store: ArchiveStore, total: Pass) -> None:
        if not self._settings.archive_merge_files:
            return
        for site_id, month in find_groups(connection, least=self._settings.archive_merge_files):
            try:
                merged = merge_group(
                    connection, store, site_id, month, grace=self._settings.grace, stopping=self._stopping
                )
            except ArchiveStoppedError:
                return
            except _KEEPS_A_CHUNK as error:
                self.metrics.failures.inc()
                total.problems.append(str(error))
                _LOG.warning("files are not merged", action="archive.unmerged", error=str(error))
                continue
            total.merged += merged
            self.metrics.merged.inc(merged)


class ArchiveRunner:
    """The archiver as a process: until `stop`, whatever database and store do meanwhile."""

    def __init__(self, settings: ArchiveSettings, *, default_url: str | None = None) -> None:
        self._settings = settings
        self.metrics = ArchiveMetrics()
        self._stopping = threading.Event()
        self._archiver = Archiver(settings, default_url=default_url, metrics=self.metrics, stopping=self._stopping)
        self._problems: list[str] = ["not connected to the database yet"]

    def run(self) -> None:
        """Work until `stop` is called. Raises SetupError where the database has no schema."""
        while not self._stopping.is_set():
            pause = self._settings.archive_every / 1000
            try:
                with connect(self._settings.database_url, role="archive") as connection:
                    done = self._archiver.once(connection)
            except ArchiveBusyError:
                self._problems = []
            except (psycopg.Error, ArchiveError, ArchiveRefusedError, OSError) as error:
                # Whatever it is: what was not moved stays where it is, and is moved later.
                self._problems = [f"the archive is stuck: {' '.join(str(error).split())}"]
                self.metrics.failures.inc()
                _LOG.warning("archiving failed, trying again", action="archive.failed", error=str(error).strip())
                pause = min(pause, _RETRY_SECONDS)
            else:
                self._problems = list(done.problems)
                if done.chunks or done.merged:
                    _LOG.info(
                        "readings archived",
                        action="archive.moved",
                        chunks=done.chunks,
                        readings=done.readings,
                        bytes=done.bytes,
                        merged=done.merged,
                        seconds=round(done.seconds, 1),
                    )
            self._stopping.wait(pause)

    def stop(self) -> None:
        """End after the step at hand: what is being copied stays in the table. Safe before `run`, and twice."""
        self._stopping.set()

    def problems(self) -> list[str]:
        """What keeps readings from being archived; empty when all is well."""
        return list(self._problems)
